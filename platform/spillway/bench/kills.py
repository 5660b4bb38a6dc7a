"""Engines killed at random moments while streams count: `python -m spillway.bench kills --kills 200`.

Each round starts a number of streams, breaks one engine when a share of all text, drawn at random, has come, and
follows every stream to its end. A stream is exact if all that it said, its usage and its end are those of the
undisturbed run. Then the pool has to be whole and idle again, and at the very end nothing may be left over.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop

from spillway.bench.books import is_idle, read_books
from spillway.bench.figures import Spread, print_promises, print_table, write_json
from spillway.bench.served import Served
from spillway.bench.streams import Answer, Count, stream

DETECTED_MS: Final = 100.0
HANG_MS: Final = 2_000.0
"""How long an engine may stand still before that is a hang; what is promised of a death comes on top."""
PAUSE_MS: Final = 1_000.0
PATIENT: Final = (
    "--restart-intensity", "1000000", "--restart-pool-intensity", "1000000", "--restart-stable-after-s", "0",
)  # fmt: skip
"""A drill kills more in an hour than a healthy machine in a year: nothing is parked for it."""


SETTLING_S: Final = 1.0
"""What the first requests make a gateway open for good, such as the store of traces, is open after so long."""


def variety(number: int) -> dict[str, Any]:
    """Return a request of every kind that must survive: seeds, penalties, logprobs, several choices, stop strings."""
    count = Count(7 * number + 3, 7 * number + 70)
    kinds: tuple[dict[str, Any], ...] = (
        {"temperature": 2.0, "seed": number, "ignore_eos": True},
        {"temperature": 0.8, "seed": number, "frequency_penalty": 0.5, "presence_penalty": 0.5},
        {"logprobs": True, "top_logprobs": 3},
        {"temperature": 0.9, "seed": number, "n": 2},
        {"stop": [f"{count.last - 5} {count.last - 4}", "never"]},
        {"temperature": 1.2, "seed": number, "repetition_penalty": 1.1, "top_k": 40, "min_p": 0.02},
    )
    return count.fields() | {"max_tokens": 90} | kinds[number % len(kinds)]


@dataclass(slots=True)
class Seen:
    """What all rounds together saw."""

    num_streams: int = 0
    num_exact: int = 0
    errors: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    """The longest of each stream, in seconds."""
    detections: list[float] = field(default_factory=list)
    """From the blow until the supervisor knew, in seconds."""
    num_recovered: int = 0
    """Requests that were on an engine when it died, and went on on another."""
    recoveries: list[float] = field(default_factory=list)
    """From the blow until the pool was whole and idle again, in seconds."""


class Moment:
    """Comes when all streams together have shown so many characters; at once if that is less than one."""

    def __init__(self, num_characters: float) -> None:
        self._missing = num_characters
        self.came = asyncio.Event()
        self.heard("")

    def heard(self, text: str) -> None:
        """Take note of a piece of text."""
        self._missing -= len(text)
        if self._missing < 1:
            self.came.set()


class Drill:
    """Rounds against one instance."""

    def __init__(self, served: Served, how: str, randomness: random.Random, *, latest: float = 0.95) -> None:
        self._served = served
        self._how = how
        self._randomness = randomness
        self._latest = latest
        """The blow falls before more than this share of all text has come."""
        self.seen = Seen()

    async def run(self, requests: Sequence[Mapping[str, Any]], num_kills: int) -> dict[str, Any]:
        """Run an undisturbed round, then `num_kills` with a blow each; return what is owed at the end."""
        await self._served.until(is_idle)
        undisturbed = await self._answers(requests)
        if broken := [answer for answer in undisturbed if not answer.is_success]:
            raise RuntimeError(f"the undisturbed round failed: {broken[0]}")
        await asyncio.sleep(SETTLING_S)
        before, recovered = await read_books(self._served), await self._num_recovered()
        for number in range(num_kills):
            await self._round(requests, undisturbed)
            sys.stderr.write(f"\r{number + 1} of {num_kills}, {self.seen.num_exact} of {self.seen.num_streams} exact ")
        sys.stderr.write("\n")
        self.seen.num_recovered = await self._num_recovered() - recovered
        return (await read_books(self._served)).owed(before)

    async def _num_recovered(self) -> int:
        pool = await self._served.pool()
        return sum(gateway["counters"]["recoveries"] for gateway in pool["gateways"])

    async def _round(self, requests: Sequence[Mapping[str, Any]], expected: list[Answer]) -> None:
        victim = self._randomness.choice((await self._served.pool())["engines"])
        num_characters = sum(len(text) for answer in expected for text in answer.texts.values())
        moment = Moment(self._randomness.uniform(0.0, self._latest) * num_characters)
        answers = asyncio.ensure_future(self._answers(requests, moment.heard))
        waiting = asyncio.ensure_future(moment.came.wait())
        await asyncio.wait((waiting, answers), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        struck, struck_at = time.perf_counter(), time.time()
        await self._strike(victim)
        self._judge(await answers, expected)
        while not self._took_effect(await self._served.pool(), victim):
            self._judge(await self._answers(requests), expected)
        after = await self._served.until(lambda pool: _died(pool, victim) and is_idle(pool), within_s=60.0)
        self.seen.recoveries.append(time.perf_counter() - struck)
        exit_ = next(engine["last_exit"] for engine in after["engines"] if engine["id"] == victim["id"])
        self.seen.detections.append(exit_["at"] - struck_at)

    async def _strike(self, victim: Mapping[str, Any]) -> None:
        match self._how:
            case "kill":
                os.kill(victim["pid"], signal.SIGKILL)
            case "stop":
                os.kill(victim["pid"], signal.SIGSTOP)
            case fault:
                reply = await self._served.order("/admin/faults", {"engine": victim["id"], "fault": fault})
                if reply.status >= 300:
                    raise RuntimeError(f"the fault was refused: {reply.body.decode()}")

    async def _answers(
        self, requests: Sequence[Mapping[str, Any]], on_text: Callable[[str], object] = lambda _: None
    ) -> list[Answer]:
        return await asyncio.gather(*(self._answer(request, on_text) for request in requests))

    async def _answer(self, request: Mapping[str, Any], on_text: Callable[[str], object]) -> Answer:
        connection = await self._served.connect()
        try:
            return await stream(connection, request, on_text=on_text)
        finally:
            connection.close()

    def _judge(self, answers: Sequence[Answer], expected: Sequence[Answer]) -> None:
        for answer, wanted in zip(answers, expected, strict=True):
            self.seen.num_streams += 1
            self.seen.pauses.append(answer.longest_pause)
            if not answer.is_success:
                self.seen.errors.append(f"status {answer.status}, done {answer.is_done}, error {answer.error}")
            elif answer.said() == wanted.said():
                self.seen.num_exact += 1

    def _took_effect(self, pool: Mapping[str, Any], victim: Mapping[str, Any]) -> bool:
        """Whether the blow needs no more work to strike: a fault that found its engine idle waits for a step."""
        states = {engine["id"]: engine["state"] for engine in pool["engines"]}
        return self._how in {"kill", "stop"} or _died(pool, victim) or states[victim["id"]] != "ready"


def _died(pool: Mapping[str, Any], victim: Mapping[str, Any]) -> bool:
    """Whether this incarnation has a successor."""
    return any(
        engine["id"] == victim["id"] and engine["incarnation"] > victim["incarnation"] for engine in pool["engines"]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the drill, print, and return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m spillway.bench kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--how", choices=("kill", "stop", "exception", "endless_step"), default="kill")
    parser.add_argument("--engines", type=int, default=2)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--variety", action="store_true", help="streams of every kind, instead of counting ones")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write what was found as JSON")
    given = parser.parse_args(arguments)
    randomness = random.Random(given.seed)
    counts = [Count.draw(randomness) for _ in range(given.streams)]
    requests = [variety(number) for number in range(given.streams)] if given.variety else [c.fields() for c in counts]
    with tempfile.TemporaryDirectory(prefix="spillway-kills-") as folder:
        served = Served.start("--engines", str(given.engines), "--chaos", *PATIENT, folder=Path(folder))
        try:
            drill = Drill(served, given.how, randomness)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                owed = runner.run(drill.run(requests, given.kills))
        finally:
            status = served.end()
    return _report(drill.seen, given, owed, status)


def _report(seen: Seen, given: argparse.Namespace, owed: Mapping[str, Any], status: int) -> int:
    is_hang = given.how in {"stop", "endless_step"}
    detection, pause = Spread.of(seen.detections), Spread.of(seen.pauses)
    recovery = Spread.of(seen.recoveries)
    hang = HANG_MS if is_hang else 0.0
    alone = recovery.longest if given.engines == 1 else 0.0
    allowed_detection, allowed_pause = DETECTED_MS + hang, PAUSE_MS + hang + alone
    spreads = {"death seen": detection, "longest pause of a stream": pause, "pool whole and idle again": recovery}
    print_table(
        f"{given.kills} times {given.how}, {given.engines} engines, {given.streams} streams each time; ms",
        [
            {"what": what, "p50": spread.p50, "p95": spread.p95, "p99": spread.p99, "longest": spread.longest}
            for what, spread in spreads.items()
        ],
    )
    for error in seen.errors[:5]:
        sys.stdout.write(f"  {error}\n")
    promises = {
        f"every stream exact ({seen.num_exact} of {seen.num_streams})": seen.num_exact == seen.num_streams,
        f"no stream ended with an error ({len(seen.errors)} did)": not seen.errors,
        f"streams were on engines that died ({seen.num_recovered} were)": seen.num_recovered > 0,
        f"death seen within {allowed_detection:,.0f} ms": detection.longest <= allowed_detection,
        f"longest pause at most {allowed_pause:,.0f} ms at p99": pause.p99 <= allowed_pause,
        f"nothing is left over ({dict(owed)})": not owed,
        f"ended with status 0 ({status})": status == 0,
    }
    write_json(given.out, {"kills": spreads, "errors": seen.errors, "promises": promises})
    return 0 if print_promises(promises) else 1


if __name__ == "__main__":
    sys.exit(main())
