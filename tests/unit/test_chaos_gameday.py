"""Game days: what is written first, what is drawn, and how the sheet is filled in."""

import datetime as dt
from types import ModuleType
from typing import Any

import msgspec
import pytest

from spillway_chaos import drill as drills
from spillway_chaos.errors import UsageError
from spillway_chaos.gameday.plan import GamePlan, draw, read_roles, to_plain
from spillway_chaos.gameday.review import review
from spillway_chaos.journal import Step
from spillway_chaos.timeline import timeline

KILL = drills.load("engine-kill")
TODAY = dt.date(2026, 3, 1)


def plan(**changes: Any) -> GamePlan:
    found = GamePlan(
        written=dt.datetime(2026, 3, 1, tzinfo=dt.UTC),
        hypothesis="nobody notices",
        is_surprise=False,
        seed=1,
        drill="engine-kill",
        roles={"lead": "Ada", "operator": "Bob", "scribe": "Cyd", "observer": "Dee"},
        planned_s=60.0,
    )
    return msgspec.structs.replace(found, **changes)


def steady(**changes: Any) -> dict[str, tuple[Step, ...]]:
    step = Step(activity="ready", kind="probe", status="succeeded", start=0.0, duration=0.0)
    return {"before": (msgspec.structs.replace(step, **changes),)}


def points(fake: ModuleType, made: GamePlan, found: Any, *, had_control: bool = True) -> dict[str, int]:
    sheet = review(made, KILL, found, had_control, TODAY)
    return {rating.criterion: rating.points for rating in sheet.ratings}


def test_a_good_day_is_rated_from_what_was_measured(fake_drill: ModuleType) -> None:
    found = msgspec.structs.replace(fake_drill.journal(KILL, at=0.0), steady_states=steady())
    sheet = review(plan(), KILL, found, True, TODAY)
    assert sheet.held
    assert {rating.criterion: rating.points for rating in sheet.ratings} == {
        "preparation": 5, "roles": 5, "detection": 5, "communication": 3, "decisions": 5, "actions": 5, "time kept": 5,
        "overall": 5,
    }  # fmt: skip
    assert sheet.overall == pytest.approx(33 / 7)
    assert all(rating.rule and rating.measured for rating in sheet.ratings)


def test_what_was_not_done_costs(fake_drill: ModuleType) -> None:
    found = fake_drill.journal(KILL, at=0.0, seconds=130.0)
    slow = msgspec.structs.replace(found, detection_s=0.9, status="aborted")
    rated = points(fake_drill, plan(roles={}), slow, had_control=False)
    assert rated["preparation"] == 2
    assert rated["roles"] == 1
    assert rated["detection"] == 3
    assert rated["decisions"] == 3
    assert rated["time kept"] == 1


def test_what_broke_becomes_an_action_with_an_owner_and_a_date(fake_drill: ModuleType) -> None:
    found = fake_drill.journal(KILL, at=0.0, seen=fake_drill.evidence(conservation_gap=2.0))
    sheet = review(plan(), KILL, found, True, TODAY)
    assert not sheet.held
    (action,) = sheet.actions
    assert action.what.startswith("once: 2 requests")
    assert (action.owner, action.due, action.verified_by) == ("Ada", dt.date(2026, 3, 15), "engine-kill")
    nobodys = review(plan(roles={}), KILL, found, True, TODAY)
    assert {rating.criterion: rating.points for rating in nobodys.ratings}["actions"] == 1


def test_a_surprise_is_drawn_by_its_seed_and_not_told_before() -> None:
    known = [drills.load(name) for name in drills.shipped()]
    assert draw(known, 7).name == draw(list(reversed(known)), 7).name
    assert len({draw(known, seed).name for seed in range(60)}) > 10
    secret = plan(is_surprise=True)
    assert to_plain(secret, hide=True)["drill"] == "a surprise"
    assert to_plain(secret, hide=False)["drill"] == "engine-kill"
    with pytest.raises(UsageError, match="no drill to draw"):
        draw([], 1)


def test_roles_are_read_or_refused() -> None:
    assert read_roles(["lead=Ada", "scribe=Cyd"]) == {"lead": "Ada", "scribe": "Cyd"}
    for wrong in ("lead", "lead=", "king=Ada"):
        with pytest.raises(UsageError, match="is not ROLE=NAME"):
            read_roles([wrong])


def test_the_timeline_is_in_order_and_holds_all_of_it(fake_drill: ModuleType) -> None:
    at = fake_drill.START + fake_drill.AHEAD - 8.0
    seen = fake_drill.evidence(alerts=(fake_drill.PAGE,))
    moments = timeline(fake_drill.journal(KILL, at=at, seen=seen))
    assert [moment.at_s for moment in moments] == sorted(moment.at_s for moment in moments)
    said = [f"{moment.who}: {moment.what}" for moment in moments]
    for wanted in ("fault: SIGKILL hits engine-0", "alert: page GoldAvailabilityPageQuick fires", "drill: striking"):
        assert wanted in said
    struck = next(moment for moment in moments if moment.who == "fault")
    assert struck.at_s == pytest.approx(8.0 + 3.5)
