"""When a first token would come, on loads that are written down."""

import pytest

from spillway.admission.contract import Ask, Band, Objective
from spillway.admission.load.model_load import EngineLoad, ModelLoad, Pace, Waiting
from spillway.admission.load.prediction import Knowledge, predict, slots_per_s
from spillway.admission.load.service import ServiceTime
from spillway.admission.load.shares import Shares
from spillway_wire.messages import Capacity

PACE = Pace(0.01, 0.001, 0.0001)
CAPACITY = Capacity(max_num_seqs=8, max_num_batched_tokens=512, max_model_len=4096, num_blocks=1000, block_size=16)


def engine(
    *,
    sequences: int = 0,
    prefill: int = 0,
    free_blocks: int = 1000,
    pace: Pace | None = PACE,
    name: str = "e0",
    limit: float = 8.0,
) -> EngineLoad:
    return EngineLoad(
        engine_id=name,
        capacity=CAPACITY,
        sequences=sequences,
        free_blocks=free_blocks,
        prefill_tokens=prefill,
        limit=limit,
        pace=pace,
    )


def load(
    *engines: EngineLoad, waiting: dict[Band, dict[str, Waiting]] | None = None, own: int = 0, resumed: int = 0
) -> ModelLoad:
    return ModelLoad(engines=engines, waiting=waiting or {}, resumed=resumed, own_running=own)


def ask(*, prompt: int = 100, band: Band = Band.DEFAULT, sequences: int = 1, matched: int = 0) -> Ask:
    return Ask(
        request_id="r",
        model="m",
        tenant_id="t",
        key_id="k",
        band=band,
        weight=1.0,
        objective=Objective(ttft_s=1.0, tpot_s=0.1),
        prompt_tokens=prompt,
        matched_tokens=matched,
        sequences=sequences,
    )


def known(*, stay_s: float | None = 2.0, gateways: int = 1) -> Knowledge:
    """Knowledge of requests that stay so long in a full engine that computes no prompts."""
    service = ServiceTime()
    if stay_s is not None:
        full = engine(sequences=8)
        for number in range(32):
            service.begin(str(number), 0.0, 1, full)
            service.end(str(number), stay_s, 8)
    return Knowledge(service=service, shares=Shares(), factor=1.0, gateways=gateways)


def test_an_idle_engine_has_only_the_prompt_to_compute() -> None:
    prediction = predict(ask(), load(engine()), known(stay_s=None), 0.0)
    assert prediction is not None
    assert prediction.queue_s == 0.0
    assert prediction.kv_s == 0.0
    assert prediction.prefill_s == pytest.approx(100 * 0.0001 + 0.01 + 0.01)  # its chunk, and the step that runs
    assert prediction.alone_s == pytest.approx(prediction.raw_s, abs=0.002)


def test_what_is_cached_is_not_computed() -> None:
    cold, warm = (predict(ask(prompt=500, matched=n), load(engine()), known(), 0.0) for n in (0, 480))
    assert cold is not None
    assert warm is not None
    assert cold.prefill_s - warm.prefill_s == pytest.approx(480 * 0.0001)


def test_nothing_is_predicted_without_a_pace() -> None:
    assert predict(ask(), load(engine(pace=None)), known(), 0.0) is None
    assert predict(ask(), load(), known(), 0.0) is None


def test_nothing_is_predicted_of_a_queue_before_anything_has_ended() -> None:
    assert predict(ask(), load(engine(sequences=8), own=8), known(stay_s=None), 0.0) is None


def test_the_place_in_the_line_is_worked_off_at_the_rate_of_slots() -> None:
    waiting = {Band.DEFAULT: {"t": Waiting(3, 3, 300)}}
    prediction = predict(ask(), load(engine(sequences=8), waiting=waiting, own=8), known(stay_s=2.0), 0.0)
    assert prediction is not None
    assert prediction.queue_s == pytest.approx(4 / (8 / 2.0), rel=0.05)


def test_the_rate_is_right_before_there_is_a_backlog() -> None:
    """Learned at two sequences in a quick engine, asked of a full one, whose steps are longer."""
    service = ServiceTime()
    for number in range(32):
        service.begin(str(number), 0.0, 1, engine(sequences=2))
        service.end(str(number), 100 * (0.01 + 2 * 0.001), 2)
    rate = service.slots_per_s(engine(sequences=2), 10.0)
    assert rate == pytest.approx(8 / (100 * (0.01 + 8 * 0.001)), rel=0.02)


def test_free_slots_go_to_those_before_it() -> None:
    waiting = {Band.DEFAULT: {"t": Waiting(1, 1, 10)}}
    some = predict(ask(), load(engine(sequences=6), waiting=waiting, own=6), known(), 0.0)
    none = predict(ask(sequences=2), load(engine(sequences=6), waiting=waiting, own=6), known(), 0.0)
    assert some is not None
    assert none is not None
    assert some.queue_s == 0.0
    assert none.queue_s > 0.0


def test_higher_bands_and_resumed_work_go_first_and_lower_ones_do_not() -> None:
    base = predict(ask(), load(engine(sequences=8), own=8), known(), 0.0)
    higher = {Band.INTERACTIVE: {"x": Waiting(4, 4, 40)}}
    lower = {Band.BULK: {"x": Waiting(40, 40, 400)}}
    behind = predict(ask(), load(engine(sequences=8), waiting=higher, own=8), known(), 0.0)
    resumed = predict(ask(), load(engine(sequences=8), resumed=4, own=8), known(), 0.0)
    before = predict(ask(), load(engine(sequences=8), waiting=lower, own=8), known(), 0.0)
    assert base is not None
    assert behind is not None
    assert resumed is not None
    assert before is not None
    assert behind.queue_s == pytest.approx(base.queue_s + 4 / 4.0, rel=0.05)
    assert resumed.queue_s == pytest.approx(behind.queue_s)
    assert before.queue_s == pytest.approx(base.queue_s / 0.95)  # down to the floor of the band below


def test_the_engine_that_is_first_counts() -> None:
    slow, fast = engine(prefill=5000), engine(name="e1", prefill=100)
    both = predict(ask(), load(slow, fast), known(), 0.0)
    alone = predict(ask(), load(fast), known(), 0.0)
    assert both is not None
    assert alone is not None
    assert both.ttft_s == pytest.approx(alone.ttft_s)


def test_prefill_ahead_is_worked_off_while_it_waits_for_a_slot() -> None:
    busy = predict(ask(), load(engine(sequences=7, prefill=400), own=7), known(), 0.0)
    idle = predict(ask(), load(engine(sequences=7), own=7), known(), 0.0)
    late = predict(ask(), load(engine(sequences=8, prefill=400), own=8), known(), 0.0)
    assert busy is not None
    assert idle is not None
    assert late is not None
    assert busy.prefill_s > idle.prefill_s
    assert late.prefill_s == pytest.approx(idle.prefill_s, abs=0.003)


def test_missing_blocks_come_free_with_the_requests_that_hold_them() -> None:
    full = engine(sequences=4, free_blocks=0)
    prediction = predict(ask(prompt=1600), load(full, own=4), known(), 0.0)
    rate = known().service.slots_per_s(full, 0.0, full=False)
    assert prediction is not None
    assert rate is not None
    assert prediction.kv_s == pytest.approx(100 / (rate * 1000 / 4))


def test_a_gateway_counts_on_what_it_holds_and_on_its_share_at_least() -> None:
    one = slots_per_s(load(engine(sequences=8), own=8), known(), 0.0)
    quarter = slots_per_s(load(engine(sequences=8), own=2), known(gateways=4), 0.0)
    half = slots_per_s(load(engine(sequences=8), own=4), known(gateways=4), 0.0)
    third = slots_per_s(load(engine(sequences=8), own=0), known(gateways=3), 0.0)
    assert one is not None
    assert (quarter, half, third) == pytest.approx((one / 4, one / 2, one / 3))


def test_a_prompt_in_many_chunks_pays_for_each_step() -> None:
    prediction = predict(ask(prompt=2048), load(engine()), known(), 0.0)
    assert prediction is not None
    assert prediction.prefill_s == pytest.approx(2048 * 0.0001 + 4 * 0.01 + 0.01)


def test_an_engine_above_its_limit_frees_no_slot_before_it_is_below() -> None:
    full = predict(ask(), load(engine(sequences=8), own=8), known(), 0.0)
    over = predict(ask(), load(engine(sequences=8, limit=5.5), own=8), known(), 0.0)
    assert full is not None
    assert over is not None
    rate = slots_per_s(load(engine(sequences=8, limit=5.5), own=8), known(), 0.0)
    assert rate is not None
    assert over.queue_s == pytest.approx((3 + 1) / rate)
    assert full.queue_s == pytest.approx(1 / rate)
