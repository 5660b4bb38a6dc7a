"""A drill's runs → how it stands, and its points. Pure."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from spillway_chaos.drill import Drill
from spillway_chaos.journal import Journal
from spillway_chaos.judging.verdict import ControlVerdict, Verdict
from spillway_chaos.scorecard.settings import LoopSettings

DAY_S = 86_400.0


class Standing(StrEnum):
    """What is known of a drill's promise."""

    PROVEN = "proven"
    HELD = "held"
    EXPIRED = "expired"
    BROKEN = "broken"
    NEVER = "never"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One drill."""

    drill: str
    title: str
    contributions: dict[str, str]
    faults: tuple[str, ...]
    has_control: bool
    standing: Standing
    points: float
    reason: str
    age_days: float | None
    """Of the run that counts."""
    runs: int
    """That concluded something, ever."""
    held: int
    """Of them."""
    controls_red: int
    goodput: float | None = None
    """Under the fault, as a part of before."""
    bad: dict[str, float] = {}
    """Budget that the last run spent: requests by the platform's verdict, but for good ones."""
    judged: float = 0.0
    """Requests that it was spent on."""
    paged: tuple[str, ...] = ()
    """Families of objectives of which a page fired."""
    detection_s: float | None = None
    recovery_s: float | None = None
    alert_s: float | None = None
    broken: tuple[str, ...] = ()


def result_of(drill: Drill, journals: Sequence[Journal], settings: LoopSettings, now: float) -> Result:
    """Return how a drill stands, by the last run that concluded something; `journals` are its own, the oldest first."""
    runs = [each for each in journals if not each.is_control and each.verdict in {Verdict.PASSED, Verdict.FAILED}]
    controls = [each for each in journals if each.is_control and each.control_verdict is not None]
    standing, reason = _standing(drill, journals, runs, settings.expiry.after_days, now)
    last = runs[-1] if runs else None
    seen = last.evidence if last is not None else None
    judged = {} if seen is None else seen.judged
    return Result(
        drill=drill.name,
        title=drill.experiment.title,
        contributions=dict(drill.experiment.contributions),
        faults=tuple(fault.kind for fault in drill.terms.faults),
        has_control=drill.terms.control is not None,
        standing=standing,
        points=float(getattr(settings.credit, standing.value)),
        reason=reason,
        age_days=None if last is None else (now - last.started_unix) / DAY_S,
        runs=len(runs),
        held=sum(each.verdict is Verdict.PASSED for each in runs),
        controls_red=sum(each.control_verdict is ControlVerdict.RED for each in controls),
        goodput=None if last is None else last.goodput.get("ratio"),
        bad={verdict: count for verdict, count in judged.items() if verdict != "good"},
        judged=sum(judged.values()),
        paged=() if seen is None else tuple(sorted({a.family for a in seen.alerts if a.severity == "page"})),
        detection_s=None if last is None else last.detection_s,
        recovery_s=None if last is None else last.recovery_s,
        alert_s=None if last is None else last.alert_s,
        broken=() if last is None else last.broken,
    )


def _standing(
    drill: Drill, journals: Sequence[Journal], runs: Sequence[Journal], expires_days: float, now: float
) -> tuple[Standing, str]:
    if not runs:
        tried = [each for each in journals if not each.is_control]
        return Standing.NEVER, f"nothing could be concluded: {tried[-1].problem}" if tried else "never run"
    last = runs[-1]
    if last.verdict is Verdict.FAILED:
        return Standing.BROKEN, f"broken: {', '.join(last.broken)}"
    if (now - last.started_unix) / DAY_S > expires_days:
        return Standing.EXPIRED, f"held, more than {expires_days:g} days ago"
    blind = _unproven(drill, journals, expires_days, now)
    return (Standing.HELD, f"held; {blind}") if blind else (Standing.PROVEN, "held, and its control turned red")


def _unproven(drill: Drill, journals: Sequence[Journal], expires_days: float, now: float) -> str:
    """Return why a drill that held proves nothing of its defence."""
    if drill.terms.control is None:
        return f"no control: {drill.terms.without_control}"
    fresh = [each for each in journals if each.is_control and (now - each.started_unix) / DAY_S <= expires_days]
    if not fresh:
        return "its control was not run lately"
    if fresh[-1].control_verdict is not ControlVerdict.RED:
        return f"its control was {fresh[-1].control_verdict}, which shows nothing"
    return ""
