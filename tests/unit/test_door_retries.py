"""Retries at the door: by appointment, out of turn, and the level of last resort."""

import pytest

from spillway.admission.contract import Ask, Band, Objective
from spillway.admission.door import Door
from spillway.admission.load.model_load import EngineLoad, ModelLoad, Pace, Waiting
from spillway.pool.contract import Refused
from spillway.settings import Settings
from spillway_wire.messages import Capacity

ENGINE = EngineLoad(
    engine_id="e0",
    capacity=Capacity(max_num_seqs=8, max_num_batched_tokens=512, max_model_len=4096, num_blocks=999, block_size=16),
    sequences=8,
    free_blocks=999,
    prefill_tokens=0,
    limit=8.0,
    pace=Pace(0.01, 0.001, 0.0001),
)


def load(waiting: int) -> ModelLoad:
    lines = {Band.DEFAULT: {"t": Waiting(waiting, waiting, 0)}} if waiting else {}
    return ModelLoad(engines=(ENGINE,), waiting=lines, resumed=0, own_running=8)


def ask(name: str, *, retry: int = 0, band: Band = Band.DEFAULT) -> Ask:
    return Ask(
        request_id=name,
        model="m",
        tenant_id="t",
        key_id="k",
        band=band,
        weight=1.0,
        objective=Objective(ttft_s=1.0, tpot_s=0.1),
        prompt_tokens=10,
        retry=retry,
    )


@pytest.fixture
def door() -> Door:
    """One that has served for eight seconds, four requests a second, each for two."""
    door = Door(Settings(), draw=lambda: 0.0)
    for number in range(32):
        now = number / 4
        door.confirm(ask(f"s{number}"), load(0), now)
        door.dispatched(f"s{number}", now, "e0")
        door.first_token(f"s{number}", now + 0.28)
        door.finished(f"s{number}", now + 2.0, 20)
    return door


def test_who_comes_back_when_told_costs_no_retry_budget(door: Door) -> None:
    refused = door.precheck(ask("a"), load(50), 8.0)
    assert refused is not None
    assert refused.retry_after_s is not None
    budget = door.facts(8.0)["m"]["retry_budget"]
    assert door.precheck(ask("b", retry=1), load(0), 8.0 + refused.retry_after_s) is None
    facts = door.facts(12.0)["m"]
    assert facts["retry_budget"] == budget
    assert facts["returns_claimed_share"] > 0.0


def test_retries_out_of_turn_are_borne_up_to_their_budget_then_told_not_to_come_again(door: Door) -> None:
    answers = [door.precheck(ask(f"r{number}", retry=1), load(50), 8.0) for number in range(20)]
    told = [answer.should_retry for answer in answers if answer is not None]
    assert len(told) == 20
    assert told[:10] == [None] * 10
    assert told[10:] == [False] * 10
    last = answers[-1]
    assert last is not None
    assert last.retry_after_s is None
    assert last.limit == "retry_budget=0.1"


def test_retries_in_quiet_times_are_like_any_request(door: Door) -> None:
    for number in range(100):
        assert door.precheck(ask(f"r{number}", retry=1), load(0), 8.0) is None
        door.left(f"r{number}", 8.0)


def test_room_is_kept_for_those_who_were_told_to_come(door: Door) -> None:
    """As soon as returns are seen to be claimed, a fresh request at the edge is refused and a return is not."""
    tight = load(1)
    for number in range(40):
        door.precheck(ask(f"f{number}"), load(50), 8.0)
    now = 9.0
    for number in range(24):
        now = 9.0 + number
        door.precheck(ask(f"b{number}", retry=1), load(50), now)
    fresh = door.precheck(ask("fresh"), tight, now + 0.5)
    returning = door.precheck(ask("back", retry=2), tight, now + 0.5)
    assert isinstance(fresh, Refused)
    assert returning is None


def test_waits_that_stay_too_long_shut_the_lower_levels(door: Door) -> None:
    limits = []
    for number in range(400):
        now = 8.0 + number / 20
        verdict = door.confirm(ask(f"w{number}", band=Band.BULK), load(0), now)
        if isinstance(verdict, Refused):
            limits.append((verdict.limit or "").partition("=")[0])
            continue
        door.dispatched(f"w{number}", now + 2.0, "e0")  # twice of what it was allowed
        door.first_token(f"w{number}", now + 0.3)
        door.left(f"w{number}", now + 2.0)
        if number % 40 == 0:
            assert not isinstance(door.confirm(ask(f"high{number}", band=Band.INTERACTIVE), load(0), now), Refused)
            door.left(f"high{number}", now)
    assert "level" in limits


def test_a_loop_that_lags_is_load_too(door: Door) -> None:
    for number in range(40):
        now = 8.0 + number
        door.lagged(0.5)
        for each in range(5):
            door.precheck(ask(f"l{number}/{each}", band=Band.BULK), load(0), now)
            door.left(f"l{number}/{each}", now)
    assert door.facts(50.0)["m"]["shedding_threshold"] < 511
