"""What the door lets in, and how it says no."""

import pytest

from spillway.admission.contract import Ask, Band, Objective, Prediction
from spillway.admission.door import Door
from spillway.admission.load.calibration import ENOUGH
from spillway.admission.load.model_load import EngineLoad, ModelLoad, Pace, Waiting
from spillway.pool.contract import Refused
from spillway.settings import AdmissionSettings, BrownoutStep, LimitSettings, Settings
from spillway_wire.messages import Capacity
from spillway_wire.outcomes import Outcome

CAPACITY = Capacity(max_num_seqs=8, max_num_batched_tokens=512, max_model_len=4096, num_blocks=1000, block_size=16)


PACE = Pace(0.01, 0.001, 0.0001)


def engine(*, sequences: int = 0, prefill: int = 0, pace: Pace | None = PACE) -> EngineLoad:
    return EngineLoad(
        engine_id="e0",
        capacity=CAPACITY,
        sequences=sequences,
        free_blocks=1000,
        prefill_tokens=prefill,
        limit=8.0,
        pace=pace,
    )


def load(one: EngineLoad | None = None, *, waiting: int = 0) -> ModelLoad:
    lines = {Band.DEFAULT: {"t": Waiting(waiting, waiting, 10 * waiting)}} if waiting else {}
    return ModelLoad(engines=(one or engine(),), waiting=lines, resumed=0, own_running=8)


FULL = engine(sequences=8)


def ask(
    name: str = "r",
    *,
    prompt: int = 100,
    deadline: float | None = None,
    retry: int = 0,
    ttft_s: float = 1.0,
    tenant: str = "t",
) -> Ask:
    return Ask(
        request_id=name,
        model="m",
        tenant_id=tenant,
        key_id="k",
        band=Band.DEFAULT,
        weight=1.0,
        objective=Objective(ttft_s=ttft_s, tpot_s=0.1),
        prompt_tokens=prompt,
        deadline=deadline,
        retry=retry,
    )


def door_of(settings: Settings | None = None) -> Door:
    return Door(settings or Settings(), draw=lambda: 0.0)


def serve(door: Door, number: int = 32, *, stay_s: float = 2.0, started: float = 0.0, wait_s: float = 0.0) -> None:
    """Let requests pass, one after the other, on a full engine each for so long."""
    for index in range(number):
        name = f"s{index}/{started}"
        verdict = door.confirm(ask(name), load(engine(sequences=7)), started)
        assert isinstance(verdict, Prediction)
        door.dispatched(name, started, "e0")
        door.first_token(name, started + (wait_s or verdict.raw_s))
        door.finished(name, started + stay_s, 50)


def refusal(verdict: Prediction | Refused | None) -> Refused:
    assert isinstance(verdict, Refused)
    return verdict


def test_what_can_be_served_in_time_is_let_in_with_its_prediction() -> None:
    door = door_of()
    assert door.precheck(ask(), load(), 0.0) is None
    verdict = door.confirm(ask(), load(), 0.0)
    assert isinstance(verdict, Prediction)
    assert 0.0 < verdict.ttft_s < 1.0


def test_what_would_be_late_is_refused_and_told_why_and_when() -> None:
    door = door_of()
    serve(door)
    refused = refusal(door.confirm(ask(), load(FULL, waiting=20), 3.0))
    assert refused.outcome is Outcome.OVERLOADED
    assert refused.limit == "ttft=1s (gold)"
    assert refused.measured is not None
    assert refused.measured.startswith("predicted ")
    assert "come back later" in refused.message
    assert refused.retry_after_s is not None
    assert 1.0 <= refused.retry_after_s <= 120.0


def test_an_objective_of_no_tier_has_no_name() -> None:
    door = door_of()
    serve(door)
    assert refusal(door.confirm(ask(ttft_s=0.7), load(FULL, waiting=20), 3.0)).limit == "ttft=0.7s"


def test_the_precheck_refuses_without_knowing_the_prompt() -> None:
    door = door_of()
    serve(door)
    assert refusal(door.precheck(ask(prompt=0), load(FULL, waiting=20), 3.0)).limit == "ttft=1s (gold)"


@pytest.mark.parametrize("one", [engine(pace=None), FULL])
def test_ignorance_refuses_nobody(one: EngineLoad) -> None:
    door = door_of()
    assert door.precheck(ask(), load(one, waiting=200), 0.0) is None
    assert isinstance(door.confirm(ask(), load(one, waiting=200), 0.0), Prediction)


def test_a_queue_that_is_seen_to_be_old_is_no_ignorance() -> None:
    door = door_of()
    blind = load(engine(pace=None), waiting=1)
    assert isinstance(door.confirm(ask("first"), blind, 0.0), Prediction)
    assert isinstance(door.confirm(ask("second"), blind, 0.4), Prediction)
    assert refusal(door.confirm(ask("third"), blind, 0.6)).limit == "queue_age=0.5s"
    door.dispatched("first", 0.6)
    assert isinstance(door.confirm(ask("fourth"), blind, 0.7), Prediction)


def test_the_queue_has_a_bound_whatever_is_known() -> None:
    door = door_of(Settings(limits=LimitSettings(max_queued_requests=5)))
    assert refusal(door.precheck(ask(), load(waiting=5), 0.0)).limit == "max_queued_requests=5"
    assert refusal(door.confirm(ask(), load(waiting=5), 0.0)).measured == "5"
    assert isinstance(door.confirm(ask(), load(waiting=4), 0.0), Prediction)


def test_a_request_that_takes_long_alone_is_not_refused_for_load() -> None:
    door = door_of()
    slow = engine(pace=Pace(0.01, 0.001, 0.001))
    assert isinstance(door.confirm(ask(prompt=4000), load(slow), 0.0), Prediction)
    serve(door, wait_s=0.9)  # even when predictions have proved to be far too low
    assert isinstance(door.confirm(ask("again", prompt=4000), load(slow), 3.0), Prediction)


def test_the_precheck_allows_for_a_prompt_that_may_be_long() -> None:
    door = door_of()
    serve(door)
    behind = load(engine(sequences=8, pace=Pace(0.01, 0.001, 0.001)), waiting=4)
    assert isinstance(door.precheck(ask(prompt=0), behind, 3.0), Refused)
    assert door.precheck(ask(prompt=0), behind, 3.0, most_prompt_tokens=4000) is None


def test_the_clients_deadline_always_counts() -> None:
    door = door_of(Settings(admission=AdmissionSettings(shed=False)))
    slow = load(engine(pace=Pace(0.01, 0.001, 0.001)))
    refused = refusal(door.confirm(ask(prompt=1000, deadline=10.5), slow, 10.0))
    assert refused.limit == "deadline=0.50s"
    assert isinstance(door.confirm(ask(prompt=1000, deadline=20.0), slow, 10.0), Prediction)


def test_without_shedding_only_bound_and_deadline_count() -> None:
    door = door_of(Settings(admission=AdmissionSettings(shed=False)))
    serve(door)
    assert isinstance(door.confirm(ask(), load(FULL, waiting=1000), 3.0), Prediction)


def test_what_was_measured_corrects_what_is_predicted() -> None:
    door = door_of()
    serve(door)
    edge = load(FULL, waiting=1)
    before = door.confirm(ask("a"), edge, 3.0)
    assert isinstance(before, Prediction)
    door.left("a", 3.0)
    for index in range(ENOUGH):
        assert isinstance(door.confirm(ask(f"late{index}"), edge, 3.0), Prediction)
        door.first_token(f"late{index}", 3.0 + 2.5 * before.raw_s)
        door.left(f"late{index}", 5.0)
    assert refusal(door.confirm(ask("b"), edge, 5.0)).limit == "ttft=1s (gold)"


def test_who_is_dropped_after_waiting_longer_than_predicted_counts_as_late() -> None:
    door = door_of()
    serve(door)
    facts = door.facts(3.0)["m"]
    assert isinstance(door.confirm(ask(), load(FULL), 3.0), Prediction)
    door.left("r", 30.0)
    assert door.facts(30.0)["m"]["prediction_mean_ratio_default"] > facts["prediction_mean_ratio_default"]


def test_nothing_is_admitted_twice() -> None:
    door = door_of()
    door.confirm(ask(), load(), 0.0)
    with pytest.raises(ValueError, match="was admitted already"):
        door.confirm(ask(), load(), 0.0)
    door.finished("r", 1.0, 10)
    assert isinstance(door.confirm(ask(), load(), 2.0), Prediction)


def test_ends_that_nobody_knows_do_nothing() -> None:
    door = door_of()
    for _ in range(2):
        door.dispatched("x", 0.0)
        door.first_token("x", 0.0)
        door.finished("x", 0.0, 1)
        door.left("x", 0.0)
    assert door.facts(0.0) == {}


def test_counts_add_up() -> None:
    door = door_of()
    serve(door)
    door.precheck(ask("gone"), load(), 3.0)
    door.left("gone", 3.0)
    door.left("gone", 3.0)
    door.confirm(ask("no"), load(FULL, waiting=50), 3.0)
    facts = door.facts(3.0)["m"]
    assert facts["asked"] == 34
    assert (facts["admitted"], facts["refused"], facts["left_undecided"], facts["open"]) == (32, 1, 1, 0)


def test_models_share_nothing() -> None:
    door = door_of()
    serve(door)
    door.confirm(ask("no"), load(FULL, waiting=50), 3.0)
    other = Ask(
        request_id="o",
        model="other",
        tenant_id="t",
        key_id="k",
        band=Band.DEFAULT,
        weight=1.0,
        objective=Objective(ttft_s=1.0, tpot_s=0.1),
    )
    assert isinstance(door.confirm(other, load(FULL, waiting=50), 3.0), Prediction)


def test_settings_are_taken_over_and_what_was_learned_stays() -> None:
    door = door_of()
    serve(door)
    likely = door.likely_output("m", "t", 1000)
    door.reload(Settings(admission=AdmissionSettings(shed=False), brownout=(BrownoutStep(name="x", at=0.1),)))
    assert isinstance(door.confirm(ask(), load(FULL, waiting=100), 3.0), Prediction)
    assert door.likely_output("m", "t", 1000) == likely == 50


def test_pressure_rises_with_refusals_and_the_ladder_with_it() -> None:
    door = door_of()
    serve(door)
    for step in range(8):
        door.precheck(ask(f"n{step}"), load(FULL, waiting=50), 3.0 + step / 4)
    assert door.brownout("m", 5.0).active == ("bulk-short", "bronze-plain", "bronze-short")
    assert door.brownout("m", 60.0).active == ()


def test_more_gateways_leave_less_to_each() -> None:
    door = door_of()
    serve(door)
    waiting = ModelLoad(engines=(FULL,), waiting={Band.DEFAULT: {"t": Waiting(1, 1, 10)}}, resumed=0, own_running=1)
    assert isinstance(door.confirm(ask("a"), waiting, 3.0), Prediction)
    door.set_gateways(4)
    assert isinstance(door.confirm(ask("b"), waiting, 3.0), Refused)
