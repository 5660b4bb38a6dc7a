"""A campaign from its requests to its result: one run at the rate it names."""

import contextlib
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from spillway_load import plan, summary, verdict
from spillway_load.campaign import Campaign
from spillway_load.errors import CampaignError, UnreachableError
from spillway_load.intervals import mean_per_second
from spillway_load.objectives import FORMULAS
from spillway_load.plan import Plan, Shot
from spillway_load.prompts import LONGEST_COUNT, LONGEST_HISTORY, Counting
from spillway_load.record import Record
from spillway_load.reports import Seen, Told
from spillway_load.result import Result
from spillway_load.series import Series
from spillway_load.traces import Replay
from spillway_load.workers import Workers

_CONNECT_S: Final = 10.0

Tell = Callable[[float, Sequence[Told], int], None]
"""Told the seconds that have passed, how far each worker is, and how many requests there are in all."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a campaign's file does not say."""

    url: str
    workers: int = 1
    keys: Mapping[str, str] | None = None
    """API keys by tenant."""
    ca: Path | None = None
    tell: Tell = lambda *_: None
    on_start: Callable[[float], None] = lambda _: None
    """Told the start, of the monotonic clock."""


def reach(url: str, ca: Path | None = None) -> None:
    """Raise `UnreachableError` if nothing answers at `url` that can be trusted, `CampaignError` if it is no address."""
    parts = urlsplit(url)
    try:
        address = parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        raise CampaignError(f"{url!r} is no address such as http://127.0.0.1:8000") from None
    try:
        with contextlib.closing(socket.create_connection(address, timeout=_CONNECT_S)) as wire:
            if parts.scheme == "https":
                _authorities(ca).wrap_socket(wire, server_hostname=address[0]).close()
    except ssl.SSLError as error:
        raise UnreachableError(
            f"the server at {url} is not trusted: {error.reason}; name the authority of its certificate with --ca, "
            f"and the host as the certificate does"
        ) from None
    except OSError as error:
        raise UnreachableError(
            f"nothing answers at {url}: {error}; start Spillway with `spillway serve`, or say where it is with --url"
        ) from None


def _authorities(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise CampaignError(f"--ca {ca} holds no certificate that can be read: {error}") from None


def run(campaign: Campaign, around: Surroundings) -> tuple[Result, Series]:
    """Run a campaign at its own rate. Raises `LoadError`."""
    shots = plan.shots(campaign, around.keys)
    reach(around.url, around.ca)
    plans = [
        Plan(around.url, part, campaign.clients, campaign.good, str(around.ca or ""))
        for part in plan.dealt(shots, min(around.workers, len(shots)))
    ]
    begun: list[float] = []

    def started(at: float) -> None:
        begun.append(at)
        around.on_start(at)

    with Workers(plans) as workers:
        seen = workers.run(lambda passed, told: around.tell(passed, told, len(shots)), started)
    series = Series([record for each in seen for record in each.records], campaign.good)
    unix = time.time() - time.monotonic() + begun[0]
    result = conclude(campaign, around.url, series, seen)
    result.started_monotonic, result.started_unix = begun[0], unix
    result.cut = workers.is_cut
    result.notes = _notes(campaign, shots)
    return result, series


def conclude(campaign: Campaign, url: str, series: Series, seen: Sequence[Seen]) -> Result:
    """Judge a run. Its start and its notes are for the caller to add."""
    records = series.records
    beats = [beat for each in seen for beat in each.beats_s]
    lag = summary.lag(series, beats, campaign.lag_limit_ms, seen[0].scheduling, sum(each.cpu_s for each in seen))
    judged = verdict.judge_all(campaign.objectives, series, campaign.most_mistakes)
    seconds = summary.timeline(series)
    num_good = sum(second.good for second in seconds)
    low, high = mean_per_second([second.good for second in seconds])
    found = summary.exactness(series)
    return Result(
        campaign=campaign.name,
        about=campaign.about,
        url=url,
        seed=campaign.seed,
        started_unix=0.0,
        started_monotonic=0.0,
        seconds=round(series.seconds, 6),
        duration_s=campaign.duration_s,
        cut=False,
        arrivals=len(records),
        attempts=sum(record.attempts for record in records),
        fates=_fates(series),
        outcomes=_outcomes(records),
        exactness=found,
        latency=summary.latency_rows(series),
        shares=summary.share_rows(series),
        good_per_s=num_good / series.seconds if series.seconds else 0.0,
        good_per_s_interval=(low, high if high < float("inf") else None),
        tokens_per_s=summary.tokens_per_s(series) if records else 0.0,
        requests_per_s=len(records) / series.seconds if series.seconds else 0.0,
        timeline=seconds,
        pauses=summary.pauses(series),
        lag=lag,
        server=summary.server_clock(series),
        valid=lag.valid,
        objectives=judged,
        met=all(each.met for each in judged),
        exit=verdict.exit_status(judged, is_valid=lag.valid),
        formulas=FORMULAS,
        notes=[],
    )


def _fates(series: Series) -> dict[str, int]:
    counted = Counter(series.fates)
    return {fate.value: counted[fate] for fate in type(series.fates[0])} if series.fates else {}


def _outcomes(records: Sequence[Record]) -> dict[str, int]:
    return dict(Counter(record.outcome for record in records).most_common())


def _notes(campaign: Campaign, shots: Sequence[Shot]) -> list[str]:
    replay = campaign.arrivals
    if not isinstance(replay, Replay):
        return []
    speed = f"{replay.speed:g} times as fast, every {replay.every}. request"
    scale = f"prompts times {replay.prompt_scale:g}, answers times {replay.output_scale:g}"
    name = f"{Path(replay.file).name} ({replay.format}) from {replay.start_s:g} s on"
    notes = [f"replay of {name}, {speed}, {scale}"]
    if any(isinstance(work, Counting) for work in campaign.work):
        longest = sum(shot.expected.num_tokens > LONGEST_COUNT for shot in shots)
        notes.append(f"{longest} of {len(shots)} answers were cut to the {LONGEST_COUNT} numbers the demo model counts")
        notes.append(f"prompts were cut to {LONGEST_HISTORY} tokens or so of conversation")
    return notes
