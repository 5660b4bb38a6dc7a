"""The highest rate that meets the objectives: doubled until they are missed, then the gap halved until it is small.

That finds the edge if a rate below a met one is met, too: of a queue in front of a server that holds but for chance,
so the search is repeated by whoever needs to be sure, and every level it saw is in the report. A level whose generator
lagged ends the search: above it nothing would be the server's. The search itself knows no clock and no network.
"""

import time
from collections.abc import Callable

import msgspec

from spillway_load.campaign import Campaign, Saturation
from spillway_load.errors import CampaignError, Exit
from spillway_load.result import Level, Result
from spillway_load.running import Surroundings, run
from spillway_load.series import Series
from spillway_load.traces import Replay

Try = Callable[[float], Level]


def search(saturation: Saturation, attempt: Try) -> tuple[list[Level], float | None]:
    """Return every level that was tried, in order, and the highest rate that met the objectives; None: none did."""
    levels: list[Level] = []
    met: float | None = None
    missed: float | None = None
    rate: float | None = saturation.lowest
    while rate is not None:
        level = attempt(rate)
        levels.append(level)
        if not level.valid:
            break
        if level.met:
            met = rate
        else:
            missed = rate
        rate = _next(saturation, met, missed)
    return levels, met


def _next(saturation: Saturation, met: float | None, missed: float | None) -> float | None:
    """Return the rate to try next; None: the search is over."""
    if met is None:
        return None
    if missed is None:
        return None if met >= saturation.highest else min(2 * met, saturation.highest)
    return (met + missed) / 2 if missed - met > saturation.precision * met else None


def saturate(campaign: Campaign, around: Surroundings, say: Callable[[str], None]) -> tuple[Result, Series]:
    """Search, and return the result of the highest rate that met the objectives, or else of the last one tried."""
    if campaign.saturation is None:
        raise CampaignError(f"{campaign.name} has no [saturation] to search by")
    saturation = campaign.saturation
    found: dict[float, tuple[Result, Series]] = {}

    def attempt(rate: float) -> Level:
        if found:
            time.sleep(saturation.pause_s)
        seed = campaign.seed + len(found)  # other prompts each time: one that was asked before may be in a cache
        level = _at(campaign, rate, seed)
        found[rate] = run(level, around)
        seen = _level(rate, found[rate][0])
        say(f"{rate:8.2f}/s  {'met' if seen.met else 'missed: ' + '; '.join(seen.missed)}")
        return seen

    levels, highest = search(saturation, attempt)
    result, series = found[levels[-1].rate if highest is None else highest]
    result.levels, result.highest_rate = levels, highest
    result.valid = all(level.valid for level in levels)
    result.met = highest is not None
    result.exit = Exit.INVALID if not result.valid else Exit.MET if result.met else Exit.MISSED
    return result, series


def _at(campaign: Campaign, rate: float, seed: int) -> Campaign:
    if isinstance(campaign.arrivals, Replay) or campaign.saturation is None:
        raise CampaignError(f"{campaign.name}: a trace has its own rate")
    process = msgspec.structs.replace(campaign.arrivals, rate=rate)
    return msgspec.structs.replace(campaign, arrivals=process, seed=seed, duration_s=campaign.saturation.step_s)


def _level(rate: float, result: Result) -> Level:
    ttft = next(row for row in result.latency if (row.measure, row.tier, row.of) == ("ttft", "all", "served"))
    return Level(
        rate=rate,
        met=result.met,
        valid=result.valid,
        good_per_s=result.good_per_s,
        tokens_per_s=result.tokens_per_s,
        good_share=result.shares["good"].value,
        shed_share=result.shares["shed"].value,
        ttft_p50_ms=ttft.p50,
        ttft_p95_ms=ttft.p95,
        ttft_p99_ms=ttft.p99,
        missed=[each.text for each in result.objectives if not each.met],
    )
