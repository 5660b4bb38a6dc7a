"""From series to a result: percentiles, shares, the run second by second, pauses, lag. Pure."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from spillway_load import intervals
from spillway_load.objectives import ALL
from spillway_load.record import BROKEN, SERVED, Fate, Record
from spillway_load.result import (
    PERCENTILES,
    Exactness,
    Lag,
    LatencyRow,
    Pauses,
    Second,
    ServerClock,
    ShareRow,
    percentile_name,
)
from spillway_load.series import LATENCIES, SHARES, Sample, Series
from spillway_wire.outcomes import Outcome

_EXAMPLES: Final = 10


def ms(seconds: float | None) -> float | None:
    """Return milliseconds, to the microsecond."""
    return None if seconds is None else round(seconds * 1000, 3)


def latency_rows(series: Series) -> list[LatencyRow]:
    """Return every measure of every tier."""
    return [
        _row(measure, tier, of, series.latency(measure, tier, "served" if of == "served" else "all"))
        for tier in series.tiers
        for measure in LATENCIES
        for of in (("served",) if measure == "itl" else ("served", "all"))
    ]


def _row(measure: str, tier: str, of: str, sample: Sample) -> LatencyRow:
    values = sample.values
    found = {percentile_name(percent): ms(sample.percentile(percent)) for percent in PERCENTILES}
    ends = {percentile_name(percent): sample.interval(percent) for percent in PERCENTILES}
    return LatencyRow(
        measure=measure,
        tier=tier,
        of=of,
        count=sample.count,
        mean=ms(float(values.mean())) if len(values) and not sample.never else None,
        max=ms(float(values[-1])) if len(values) and not sample.never else None,
        intervals={name: (ms(low), ms(high)) for name, (low, high) in ends.items()},
        p50=found["p50"],
        p90=found["p90"],
        p95=found["p95"],
        p99=found["p99"],
        p999=found["p999"],
    )


def share_rows(series: Series, tier: str = ALL) -> dict[str, ShareRow]:
    """Return every share."""
    rows: dict[str, ShareRow] = {}
    for measure in SHARES:
        count, of = series.share(measure, tier)
        low, high = intervals.share(count, of)
        rows[measure] = ShareRow(count / of if of else None, low, high, count, of)
    return rows


def timeline(series: Series) -> list[Second]:
    """Return the run second by second."""
    if not series.records:
        return []
    seconds = [Second(number) for number in range(max(int(record.ended_s) for record in series.records) + 1)]
    due: list[list[Record]] = [[] for _ in seconds]
    for record, fate in zip(series.records, series.fates, strict=True):
        due[int(record.due_s)].append(record)
        at = seconds[int(record.ended_s)]
        at.ended += 1
        at.good += fate is Fate.GOOD
        at.refused += fate is Fate.REFUSED
        at.failed += fate in BROKEN
        times = piece_times(record)
        for second, count in Counter(times.astype(int).tolist()).items():
            seconds[min(second, len(seconds) - 1)].tokens += count * record.num_tokens / len(times)
    num_open = 0
    for at, records in zip(seconds, due, strict=True):
        at.due = len(records)
        num_open += at.due - at.ended
        at.open, at.tokens = num_open, round(at.tokens, 1)
        ttft = Sample(np.sort([record.ttft_s for record in records if record.ttft_s is not None]))
        e2e = Sample(np.sort([record.e2e_s for record in records if record.outcome == Outcome.COMPLETED]))
        at.ttft_p50_ms, at.ttft_p95_ms = ms(ttft.percentile(50)), ms(ttft.percentile(95))
        at.e2e_p95_ms = ms(e2e.percentile(95))
    return seconds


def piece_times(record: Record) -> Any:
    """Return when each piece of text came, in seconds from the run's start."""
    if record.first_s is None:
        return np.empty(0)
    return record.first_s + np.concatenate(([0], np.cumsum(record.gaps_us))) / 1e6


def pauses(series: Series) -> Pauses:
    """Find the longest pause of a stream, and the longest silence of all."""
    streams = [
        (times, record)
        for record, fate in zip(series.records, series.fates, strict=True)
        if not record.is_slow and fate is not Fate.LEFT and len(times := piece_times(record))
    ]
    found = Pauses()
    for times, record in streams:
        ends = times if record.outcome == Outcome.COMPLETED else np.append(times, record.ended_s)
        gaps = np.diff(ends)
        if len(gaps) and gaps.max() > found.longest_s:
            place = int(gaps.argmax())
            found.longest_s, found.longest_at_s = round(float(gaps[place]), 6), round(float(ends[place]), 6)
    if streams:
        found.silence_s, found.silence_at_s = _silence(streams)
    return found


def _silence(streams: Sequence[tuple[Any, Record]]) -> tuple[float, float | None]:
    pieces = np.sort(np.concatenate([times for times, _ in streams]))
    first = np.array([times[0] for times, _ in streams])
    last = np.array([max(times[-1], record.ended_s) for times, record in streams])
    gaps = np.diff(pieces)
    for place in np.argsort(gaps)[::-1]:
        begin, end = pieces[place], pieces[place + 1]
        if np.any((first <= begin) & (last >= end)):
            return round(float(end - begin), 6), round(float(begin), 6)
    return 0.0, None


def exactness(series: Series) -> Exactness:
    """Count what was exact."""
    whole = [record for record in series.records if record.outcome == Outcome.COMPLETED]
    inexact = [record for record in whole if not record.is_right and not record.is_mistake]
    mistakes = sum(record.is_mistake for record in whole)
    examples = [{"prompt": r.label, "expected": r.wanted, "got": r.got} for r in inexact[:_EXAMPLES]]
    return Exactness(len(whole), len(whole) - len(inexact) - mistakes, len(inexact), mistakes, examples)


def lag(series: Series, beats_s: Sequence[float], limit_ms: float, scheduling: str, cpu_s: float) -> Lag:
    """Say how late the generator was, and whether that was too late."""
    late = Sample(np.sort([record.lag_s for record in series.records]))
    loop = Sample(np.sort(np.asarray(beats_s, dtype=float)))
    p50, p99, worst = (ms(late.percentile(percent)) or 0.0 for percent in (50, 99, 100))
    loop_p99 = ms(loop.percentile(99)) or 0.0
    is_valid = max(p99, loop_p99) <= limit_ms
    return Lag(p50, p99, worst, loop_p99, limit_ms, is_valid, scheduling, round(cpu_s, 3))


def server_clock(series: Series) -> ServerClock:
    """Hold the client's clock against the server's."""
    differences = [
        (record.first_s - record.sent_s) * 1000 - record.server_ms
        for record in series.of(*SERVED)
        if record.server_ms is not None and record.first_s is not None
    ]
    if not differences:
        return ServerClock(0, None, None)
    return ServerClock(
        len(differences),
        round(float(np.median(differences)), 3),
        round(float(np.quantile(np.abs(differences), 0.99)), 3),
    )


def tokens_per_s(series: Series) -> float:
    """Return output tokens a second, of all answers, whole or not."""
    total = sum(record.num_tokens for record in series.records if record.first_s is not None)
    return total / series.seconds if series.seconds else math.nan
