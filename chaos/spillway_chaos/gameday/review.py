"""The review sheet: eight criteria, 1 to 5 each, from what was measured; each says the rule that rated it. Pure.

What nobody can measure is not rated by feeling: names of roles, owners and dates are asked for, and their lack costs.
"""

import datetime as dt
from collections.abc import Sequence

import msgspec

from spillway_chaos.drill import Drill
from spillway_chaos.gameday.plan import ROLES, GamePlan
from spillway_chaos.journal import Journal
from spillway_chaos.judging.verdict import Verdict

BEST, WORST = 5, 1
_DUE_DAYS = 14


class Rating(msgspec.Struct, frozen=True, kw_only=True):
    """One criterion."""

    criterion: str
    points: int
    rule: str
    measured: str


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done."""

    what: str
    owner: str
    due: dt.date
    verified_by: str


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """A whole sheet."""

    hypothesis: str
    held: bool
    """Whether the drill's promise did."""
    ratings: tuple[Rating, ...]
    overall: float
    actions: tuple[Action, ...]


def review(plan: GamePlan, drill: Drill, found: Journal, had_control: bool, today: dt.date) -> Review:
    """Fill in the sheet."""
    actions = tuple(_actions(plan, found, today))
    ratings = (
        _preparation(plan, found, had_control=had_control),
        _roles(plan),
        _detection(drill, found),
        _communication(drill, found),
        _decisions(found),
        _actions_rated(actions),
        _time_kept(plan, found),
    )
    overall = sum(rating.points for rating in ratings) / len(ratings)
    summary = Rating(
        criterion="overall",
        points=round(overall),
        rule="the mean of the seven above, rounded",
        measured=f"{overall:.1f}",
    )
    return Review(
        hypothesis=plan.hypothesis,
        held=found.verdict is Verdict.PASSED,
        ratings=(*ratings, summary),
        overall=overall,
        actions=actions,
    )


def _preparation(plan: GamePlan, found: Journal, *, had_control: bool) -> Rating:
    steady = bool(found.steady_states.get("before")) and all(
        step.status == "succeeded" for step in found.steady_states["before"]
    )
    done = {"a hypothesis": bool(plan.hypothesis.strip()), "the steady state": steady, "a red control": had_control}
    return Rating(
        criterion="preparation",
        points=WORST + len([each for each in done.values() if each]) + (1 if all(done.values()) else 0),
        rule="1, and 1 each for a hypothesis that was written first, a steady state that was met, and a control that "
        "had turned red; 5 for all three",
        measured=", ".join(name for name, holds in done.items() if holds) or "nothing",
    )


def _roles(plan: GamePlan) -> Rating:
    return Rating(
        criterion="roles",
        points=min(BEST, WORST + len(plan.roles)),
        rule=f"1, and 1 for each of the roles {', '.join(ROLES)} that somebody has",
        measured=", ".join(f"{role}: {name}" for role, name in plan.roles.items()) or "nobody",
    )


def _detection(drill: Drill, found: Journal) -> Rating:
    limit = drill.terms.expect.detected_within_s
    took = found.detection_s if limit is not None else found.alert_s
    limit = drill.terms.alerts.within_s if limit is None else limit
    wants = drill.terms.expect.detected_within_s is not None or drill.terms.alerts.fires
    rule = "5 within a half of what the drill allows, 4 within it, 3 within twice it, 2 later, 1 never"
    if not wants:
        rule += "; 3 where nothing was to be detected"
        return Rating(criterion="detection", points=3, rule=rule, measured="nothing was to be")
    return Rating(criterion="detection", points=_against(took, limit), rule=rule, measured=_seconds(took, limit))


def _communication(drill: Drill, found: Journal) -> Rating:
    rule = "5 if every page reached its receiver within 1 s, 4 within 5 s, 3 within 30 s, 2 later, 1 if one that was "
    rule += "wanted did not; 3 where none was wanted, and none came"
    pages = [] if found.evidence is None else [each for each in found.evidence.alerts if each.severity == "page"]
    missing = [name for name in drill.terms.alerts.fires if not any(each.family.startswith(name) for each in pages)]
    slowest = max((each.heard_s for each in pages), default=None)
    if missing:
        return Rating(criterion="communication", points=WORST, rule=rule, measured=f"no page of {', '.join(missing)}")
    if slowest is None:
        return Rating(criterion="communication", points=3, rule=rule, measured="no page")
    points = next((points for points, limit in ((5, 1.0), (4, 5.0), (3, 30.0)) if slowest <= limit), 2)
    return Rating(criterion="communication", points=points, rule=rule, measured=f"the slowest after {slowest:.2f} s")


def _decisions(found: Journal) -> Rating:
    rule = "5 if it ran to its end, 3 if its abort rule ended it, 2 if somebody interrupted it, 1 if it failed to run"
    points = {"completed": 5, "aborted": 3, "interrupted": 2}.get(found.status, WORST)
    return Rating(criterion="decisions", points=points, rule=rule, measured=f"{found.status} {found.problem}".strip())


def _actions_rated(actions: Sequence[Action]) -> Rating:
    rule = "5 if all that broke has an action with an owner and a date, or nothing broke; else 1"
    good = all(action.owner for action in actions)
    measured = f"{len(actions)} actions" if actions else "nothing broke"
    return Rating(criterion="actions", points=BEST if good else WORST, rule=rule, measured=measured)


def _time_kept(plan: GamePlan, found: Journal) -> Rating:
    rule = "5 within what was planned, 4 within a quarter more, 3 within a half more, 2 within twice, 1 beyond"
    ratio = found.seconds / plan.planned_s
    points = next((points for points, limit in ((5, 1.0), (4, 1.25), (3, 1.5), (2, 2.0)) if ratio <= limit), WORST)
    return Rating(
        criterion="time kept", points=points, rule=rule, measured=f"{found.seconds:.0f} s of {plan.planned_s:.0f} s"
    )


def _actions(plan: GamePlan, found: Journal, today: dt.date) -> list[Action]:
    due = today + dt.timedelta(days=_DUE_DAYS)
    owner = plan.roles.get("lead", "")
    wrong = [f"{each.name}: {each.measured}; wanted: {each.wanted}" for each in found.findings if not each.holds]
    if found.problem:
        wrong.insert(0, found.problem)
    return [Action(what=each, owner=owner, due=due, verified_by=found.drill) for each in wrong]


def _against(took: float | None, limit: float) -> int:
    if took is None:
        return WORST
    return next((points for points, times in ((5, 0.5), (4, 1.0), (3, 2.0)) if took <= times * limit), 2)


def _seconds(took: float | None, limit: float) -> str:
    return "never" if took is None else f"after {took:.2f} s of {limit:g} s"
