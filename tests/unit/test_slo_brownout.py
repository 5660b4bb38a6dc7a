"""Brownout that follows the burn: which alerts ask for how much, how it is said, and what a ladder makes of it."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import msgspec
import pytest

from spillway.admission.contract import Band
from spillway.admission.door import Door
from spillway.admission.shedding.brownout import Brownout, Wish
from spillway.ops.objectives.brownout import FAMILIES, HOLD_S, REPEAT_S, BrownoutFollower, floor_of
from spillway.settings import Settings, SloSettings
from spillway_slo.evaluate import Evaluator, Standing
from spillway_slo.loading import PROFILES, load
from spillway_wire.codec import FrameDecoder, FrameEncoder
from spillway_wire.plane import BrownoutFloor, FromSupervisor, ToSupervisor

STEPS = Settings().brownout
QUIET = Evaluator(load("laptop"), Fraction(1)).standings()


def burning(*alerts: str) -> list[Standing]:
    """How all objectives stand while these alerts fire."""
    known = {name for standing in QUIET for name in standing.burning}
    assert set(alerts) <= known
    return [
        Standing(
            objective=standing.objective,
            counted=standing.counted,
            budget_left=standing.budget_left,
            percentile_s=None,
            burning={name: name in alerts for name in standing.burning},
        )
        for standing in QUIET
    ]


@pytest.mark.parametrize(
    ("alerts", "steps"),
    [
        ((), 0),
        (("GoldTtftTicketQuick", "GoldTtftTicketSlow"), 0),
        (("GoldTtftPageSlow",), 1),
        (("SilverShedPageSlow", "GoldShortRequestP95PageQuick"), 2),
        (("GoldAvailabilityPageQuick", "BronzeStreamCompletionPageQuick"), 0),
    ],
    ids=["nothing", "tickets", "slow", "quick", "faults"],
)
def test_alerts_that_page_for_what_load_breaks_ask_for_steps(alerts: tuple[str, ...], steps: int) -> None:
    assert floor_of(burning(*alerts)) == steps


@pytest.mark.parametrize("profile", PROFILES)
def test_every_indicator_is_either_mended_by_serving_less_or_not(profile: str) -> None:
    assert FAMILIES | {"availability", "stream-completion"} == {each.family for each in load(profile)}


def test_a_floor_is_said_when_it_changes_and_again_while_it_holds() -> None:
    said: list[Any] = []
    now_s = [100.0]
    follower = BrownoutFollower(said.append, is_on=True, clock_ns=lambda: int(now_s[0] * 1e9))

    def judged(at_s: float, standings: Iterable[Standing]) -> list[Any]:
        now_s[0], before = at_s, len(said)
        follower.judged(standings)
        return [(floor.steps, floor.until_ns / 1e9) for floor in said[before:]]

    assert judged(100.0, QUIET) == []
    assert judged(101.0, burning("GoldTtftPageSlow")) == [(1, 101.0 + HOLD_S)]
    assert judged(101.5, burning("GoldTtftPageSlow")) == []
    assert judged(102.0, burning("GoldTtftPageQuick")) == [(2, 102.0 + HOLD_S)]
    assert judged(102.0 + REPEAT_S, burning("GoldTtftPageQuick")) == [(2, 102.0 + REPEAT_S + HOLD_S)]
    follower.is_on = False
    assert [steps for steps, _ in judged(105.0, burning("GoldTtftPageQuick"))] == [0]
    assert judged(110.0, QUIET) == []


def test_it_is_off_as_shipped() -> None:
    said: list[Any] = []
    BrownoutFollower(said.append, is_on=SloSettings().brownout).judged(burning("GoldTtftPageQuick"))
    assert said == []


@pytest.mark.parametrize("direction", [ToSupervisor, FromSupervisor], ids=["from ops", "to gateways"])
def test_it_travels_both_ways_as_it_is(direction: Any) -> None:
    word: msgspec.Struct = BrownoutFloor(steps=2, until_ns=2**62)
    (heard,) = FrameDecoder[Any](direction).feed(FrameEncoder().encode(word))
    assert heard == word


# ---- the ladder ----


def test_no_level_is_below_the_floor_until_it_is_over() -> None:
    ladder = Brownout(STEPS)
    ladder.hold(1, 50.0)
    ladder.advance(10.0)
    assert (ladder.level, ladder.active) == (1, (STEPS[0].name,))
    assert ladder.apply(Wish(max_tokens=10_000), "bronze", Band.BULK).steps == (STEPS[0].name,)
    for number in range(20):
        ladder.observe(1.9, 10.0 + number / 10)
    assert ladder.level == len(STEPS)
    ladder.advance(49.0)
    assert ladder.level == 1
    ladder.advance(50.0)
    assert ladder.level == 0


def test_a_floor_that_is_let_go_leaves_what_pressure_has_climbed() -> None:
    ladder = Brownout(STEPS)
    for number in range(20):
        ladder.observe(1.9, number / 10)
    ladder.hold(99, 100.0)
    assert ladder.level == len(STEPS)
    ladder.hold(0, 100.0)
    assert ladder.level == len(STEPS)
    ladder.advance(60.0)
    assert ladder.level == 0


def test_all_models_of_a_door_are_held_and_those_that_come_later() -> None:
    door = Door(Settings(), draw=lambda: 0.5)
    assert door.brownout("first", 1.0).level == 0
    door.hold_brownout(2, 9.0)
    assert [door.brownout(model, 5.0).level for model in ("first", "second")] == [2, 2]
    assert [door.brownout(model, 9.0).level for model in ("first", "second", "third")] == [0, 0, 0]
