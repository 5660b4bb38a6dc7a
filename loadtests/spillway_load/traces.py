"""Recorded arrivals of real services: when, with how long a prompt, and how long an answer. Pure but for the reading.

=========  ========================================================================  ==================================
format     columns that are read                                                     where to get it
=========  ========================================================================  ==================================
azure      CSV `TIMESTAMP,ContextTokens,GeneratedTokens`; a date and time to 100 ns  github.com/Azure/AzurePublicDataset
burstgpt   CSV `Timestamp,…,Request tokens,Response tokens,…`; seconds               github.com/HPMLL/BurstGPT
mooncake   JSON lines `timestamp` (ms), `input_length`, `output_length`              github.com/kvcache-ai/Mooncake
=========  ========================================================================  ==================================

A row that cannot be read is an error with its line; BurstGPT's failed requests (no answer) are left out and counted.
"""

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from spillway_load.errors import CampaignError
from spillway_load.shapes import NotNegative, Positive

Format = Literal["azure", "burstgpt", "mooncake"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One request of a trace."""

    at_s: float
    """From the trace's first request on."""
    prompt_tokens: int
    output_tokens: int


class Replay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="process", tag="replay", kw_only=True):
    """A trace, with time and lengths scaled."""

    format: Format
    file: str
    """Beside the campaign, unless absolute."""
    speed: Positive = 1.0
    """Times as fast as it was."""
    start_s: NotNegative = 0.0
    """Seconds of the trace to leave out at its beginning."""
    prompt_scale: Positive = 1.0
    output_scale: Positive = 1.0
    every: Annotated[int, Meta(ge=1)] = 1
    """Only every so many-th request: a part of the traffic with the times that it had."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace that was read."""

    entries: tuple[Entry, ...]
    left_out: int
    """Requests that had no answer then, either."""


def scaled(trace: Trace, replay: Replay, duration_s: float) -> list[Entry]:
    """Return the requests of the first `duration_s` seconds of a replay, at its times and lengths."""
    found = []
    for entry in trace.entries[:: replay.every]:
        at_s = (entry.at_s - replay.start_s) / replay.speed
        if 0 <= at_s < duration_s:
            prompt, output = entry.prompt_tokens * replay.prompt_scale, entry.output_tokens * replay.output_scale
            found.append(Entry(at_s, max(1, round(prompt)), max(1, round(output))))
    return found


def read(path: Path, how: Format) -> Trace:
    """Read a trace. Raises `CampaignError` with the line that is wrong."""
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return _trace(list(_numbered(path, lines, _FORMATS[how])), path)
    except OSError as error:
        raise CampaignError(f"the trace {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CampaignError(f"the trace {path} is no text") from None


_Row = tuple[float, int, int]


def _trace(rows: list[_Row], path: Path) -> Trace:
    served = sorted(row for row in rows if row[2] > 0)
    if not served:
        raise CampaignError(f"the trace {path} holds no request that had an answer")
    first = served[0][0]
    return Trace(tuple(Entry(at - first, prompt, output) for at, prompt, output in served), len(rows) - len(served))


def _numbered(path: Path, lines: Iterable[str], rows: Callable[[Iterable[str]], Iterator[_Row]]) -> Iterator[_Row]:
    counted = _Counted(lines)
    try:
        yield from rows(counted)
    except (ValueError, msgspec.MsgspecError, TypeError) as error:
        raise CampaignError(f"the trace {path}, line {counted.number}, is not as its format says: {error}") from None


class _Counted:
    """Lines, and how many were taken."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.number = 0

    def __iter__(self) -> "_Counted":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        return line


def _table(lines: Iterable[str], *columns: str) -> Iterator[tuple[str, ...]]:
    reader = csv.DictReader(lines)
    if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise ValueError(f"no column {missing[0]!r}")
    for row in reader:
        values = tuple(row[name] for name in columns)
        if None in values:
            raise ValueError("too few columns")
        yield values


def _azure(lines: Iterable[str]) -> Iterator[_Row]:
    for when, prompt, output in _table(lines, "TIMESTAMP", "ContextTokens", "GeneratedTokens"):
        whole, _, fraction = when.partition(".")
        # `fromisoformat` of Python 3.11 reads no seven digits; all stamps are of one zone, so which does not matter
        at = datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")
        yield at, int(prompt), int(output)


def _burstgpt(lines: Iterable[str]) -> Iterator[_Row]:
    for when, prompt, output in _table(lines, "Timestamp", "Request tokens", "Response tokens"):
        yield float(when), int(float(prompt)), int(float(output))


class _Mooncake(msgspec.Struct):
    timestamp: float
    input_length: int
    output_length: int


def _mooncake(lines: Iterable[str]) -> Iterator[_Row]:
    decode = msgspec.json.Decoder(_Mooncake).decode
    for line in lines:
        if line.strip():
            row = decode(line)
            yield row.timestamp / 1000, row.input_length, row.output_length


_FORMATS: Final[dict[Format, Callable[[Iterable[str]], Iterator[_Row]]]] = {
    "azure": _azure,
    "burstgpt": _burstgpt,
    "mooncake": _mooncake,
}
