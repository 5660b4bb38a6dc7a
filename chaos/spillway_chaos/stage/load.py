"""The load of a drill: a campaign of `spillway_load`, in processes of its own, and what it saw."""

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from spillway_chaos.errors import StageError

PATIENCE_S: Final = 60.0
"""After its last request was due; then it is killed."""
STARTS_WITHIN_S: Final = 30.0


class Second(msgspec.Struct, frozen=True):
    """One second of it."""

    second: int
    due: int
    good: int
    failed: int
    refused: int


class Exactness(msgspec.Struct, frozen=True):
    """Answers held against what they should say."""

    checked: int
    inexact: int
    mistakes: int
    examples: list[dict[str, str]]


class Pauses(msgspec.Struct, frozen=True):
    """When nothing came."""

    longest_s: float


class Lag(msgspec.Struct, frozen=True):
    """The generator's own."""

    p99_ms: float
    limit_ms: float


class Rate(msgspec.Struct, frozen=True):
    """A share of requests: of how many."""

    value: float | None
    of: int


class Latency(msgspec.Struct, frozen=True):
    """One series."""

    measure: str
    tier: str
    of: str
    max: float | None
    unit: str


class LoadResult(msgspec.Struct, frozen=True):
    """What is read of a campaign's result.json."""

    version: int
    campaign: str
    started_monotonic: float
    started_unix: float
    seconds: float
    arrivals: int
    attempts: int
    fates: dict[str, int]
    outcomes: dict[str, int]
    exactness: Exactness
    shares: dict[str, Rate]
    latency: list[Latency]
    timeline: list[Second]
    pauses: Pauses
    lag: Lag
    valid: bool

    @property
    def slowest_first_token_s(self) -> float | None:
        """Of the answers that came whole."""
        for row in self.latency:
            if (row.measure, row.tier, row.of) == ("ttft", "all", "served"):
                return None if row.max is None else row.max / 1e3
        return None


def together(main: LoadResult, more: LoadResult) -> LoadResult:
    """Return what two campaigns saw, as one: on the clock of the first, which began before, and ends after."""
    offset = round(more.started_monotonic - main.started_monotonic)
    seconds = {each.second: each for each in main.timeline}
    for each in more.timeline:
        place = each.second + offset
        known = seconds.get(place, Second(place, 0, 0, 0, 0))
        seconds[place] = Second(
            place,
            known.due + each.due,
            known.good + each.good,
            known.failed + each.failed,
            known.refused + each.refused,
        )
    both = (main.exactness, more.exactness)
    return msgspec.structs.replace(
        main,
        arrivals=main.arrivals + more.arrivals,
        attempts=main.attempts + more.attempts,
        fates=_sums(main.fates, more.fates),
        outcomes=_sums(main.outcomes, more.outcomes),
        exactness=Exactness(
            sum(each.checked for each in both),
            sum(each.inexact for each in both),
            sum(each.mistakes for each in both),
            [example for each in both for example in each.examples],
        ),
        shares={name: _mean(rate, more.shares.get(name)) for name, rate in main.shares.items()},
        latency=[*main.latency, *more.latency],
        timeline=[seconds[place] for place in sorted(seconds)],
        pauses=Pauses(max(main.pauses.longest_s, more.pauses.longest_s)),
        lag=max(main.lag, more.lag, key=lambda lag: lag.p99_ms),
        valid=main.valid and more.valid,
    )


def _sums(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in one.keys() | other.keys()}


def _mean(one: Rate, other: Rate | None) -> Rate:
    if other is None or other.value is None or not other.of:
        return one
    if one.value is None or not one.of:
        return other
    count = one.of + other.of
    return Rate((one.value * one.of + other.value * other.of) / count, count)


class Told(msgspec.Struct, frozen=True):
    """How far it is."""

    due: int = 0
    failed: int = 0
    refused: int = 0
    good: int = 0


class LoadRun:
    """One campaign under way."""

    def __init__(
        self,
        campaign: str,
        url: str,
        out: Path,
        *,
        rate: float | None,
        duration_s: float,
        seed: int,
        keys: Path | None = None,
    ) -> None:
        command = [sys.executable, "-m", "spillway_load", campaign, "--url", url, "--out", str(out)]
        command += ["--duration", str(duration_s), "--seed", str(seed), "--progress", "json"]
        command += [] if rate is None else ["--rate", str(rate)]
        command += [] if keys is None else ["--keys", str(keys)]
        self._command, self._out, self._duration_s = command, out, duration_s
        self.process = subprocess.Popen(  # noqa: S603 - our own
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.started = threading.Event()
        self.told = Told()
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for_start(self) -> None:
        """Return when its first request can be due. Raises `StageError`."""
        if not self.started.wait(STARTS_WITHIN_S) or not self._has_begun():
            raise StageError(f"the load did not start: {' / '.join(self._lines[-3:]) or 'it said nothing'}")

    def _has_begun(self) -> bool:
        return not self._lines and self.process.poll() is None

    def _read(self) -> None:
        for line in self.process.stderr or ():
            said = _json(line)
            if said is None:
                self._lines.append(line.strip())
            elif "started" in said:
                self.started.set()
            else:
                self.told = msgspec.convert(said, Told, strict=False)
        self.started.set()

    def finish(self) -> LoadResult:
        """Wait for its end and return what it saw. Raises `StageError`."""
        try:
            status = self.process.wait(self._duration_s + PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.stop()
            raise StageError(f"the load did not end within {PATIENCE_S:g} s after its last request") from None
        self._reader.join(5.0)
        if status in {2, 4}:
            raise StageError(f"the load could not run: {' / '.join(self._lines[-3:])}")
        return read_result(self._out / "result.json")

    def stop(self) -> None:
        """End it now. Idempotent."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(5.0)
        if self.process.stderr is not None:
            self.process.stderr.close()


def read_result(path: Path) -> LoadResult:
    """Read result.json. Raises `StageError`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=LoadResult)
    except (OSError, msgspec.MsgspecError) as error:
        raise StageError(f"the load's result {path} cannot be read: {error}") from None


def _json(line: str) -> dict[str, Any] | None:
    try:
        said = json.loads(line)
    except json.JSONDecodeError:
        return None
    return said if isinstance(said, dict) else None
