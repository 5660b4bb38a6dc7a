"""What predictions learn from: ratios, lengths, stays, and shares."""

import pytest

from spillway.admission.contract import Ask, Band, Objective
from spillway.admission.load.calibration import BOUNDS, ENOUGH, FORGET_S, UNTIL_KNOWN, Calibration, Calibrations
from spillway.admission.load.lengths import MAX_TENANTS, OutputLengths
from spillway.admission.load.model_load import EngineLoad, Waiting
from spillway.admission.load.quantile import MOST, RunningQuantile
from spillway.admission.load.rates import RateMeter
from spillway.admission.load.service import ServiceTime
from spillway.admission.load.shares import Shares
from spillway_wire.messages import Capacity


def ask(tenant: str = "t", *, band: Band = Band.DEFAULT, weight: float = 1.0, prompt: int = 100) -> Ask:
    return Ask(
        request_id="r",
        model="m",
        tenant_id=tenant,
        key_id="k",
        band=band,
        weight=weight,
        objective=Objective(ttft_s=1.0, tpot_s=0.1),
        prompt_tokens=prompt,
    )


def test_a_quantile_is_the_nearest_rank_of_the_window() -> None:
    quantile = RunningQuantile(0.9, 10)
    assert quantile.value is None
    for value in range(1, 101):
        quantile.add(value)
    assert len(quantile) == 10
    assert quantile.value == 99  # of 91 … 100


def test_a_quantile_keeps_a_time_too_and_is_bounded() -> None:
    quantile = RunningQuantile(1.0, 2, keep_s=10.0)
    for when in range(20):
        quantile.add(-when, float(when))
    assert len(quantile) == 10
    assert quantile.value == -10
    for _ in range(2 * MOST):
        quantile.add(1.0, 20.0)
    assert len(quantile) == MOST


@pytest.mark.parametrize(("share", "window"), [(0.0, 1), (1.5, 1), (0.5, 0), (0.5, MOST + 1)])
def test_a_quantile_of_nothing_is_refused(share: float, window: int) -> None:
    with pytest.raises(ValueError, match="a quantile needs"):
        RunningQuantile(share, window)


def test_the_factor_covers_nearly_all_ratios_once_there_are_enough() -> None:
    calibration = Calibration()
    for number in range(ENOUGH - 1):
        calibration.learn(0.8, 1.6, 1.0, float(number))
    assert calibration.factor == UNTIL_KNOWN
    calibration.learn(0.8, 1.6, 1.0, 20.0)
    assert calibration.factor == pytest.approx(1.65 / 0.85)
    assert calibration.mean == pytest.approx(calibration.factor)


def test_the_factor_has_bounds() -> None:
    high, low = Calibration(), Calibration()
    for _ in range(ENOUGH):
        high.learn(0.8, 100.0, 1.0, 0.0)
        low.learn(0.8, 0.0, 1.0, 0.0)
    assert (low.factor, high.factor) == BOUNDS


def test_milliseconds_are_no_error_and_do_not_decide() -> None:
    calibration = Calibration()
    for _ in range(100):
        calibration.learn(0.001, 0.003, 1.0, 0.0)
    assert calibration.mean == pytest.approx(1.04, abs=0.01)
    assert calibration.factor == UNTIL_KNOWN
    assert calibration.trusted


def test_ratios_that_scatter_are_not_trusted_and_an_offset_is() -> None:
    scattered, offset = Calibration(), Calibration()
    for number in range(64):
        scattered.learn(0.8, 8.0 if number % 2 else 0.05, 1.0, 0.0)
        offset.learn(0.8, 2.0, 1.0, 0.0)
    assert not scattered.trusted
    assert scattered.error > offset.error
    assert offset.trusted


def test_a_tenant_has_a_factor_of_its_own_when_enough_is_known_of_it() -> None:
    calibrations = Calibrations()
    for _ in range(ENOUGH):
        calibrations.learn(ask("slow"), 0.8, 2.0, 1.0, 0.0)
        calibrations.learn(ask("quick"), 0.8, 0.8, 1.0, 0.0)
    slow, quick, new = (calibrations.of(Band.DEFAULT, name, 0.0).factor for name in ("slow", "quick", "new"))
    assert quick == pytest.approx(1.0)
    assert slow > quick
    assert new == pytest.approx(slow)  # its band's, which covers both
    assert calibrations.of(Band.BULK, "slow", 0.0).factor == UNTIL_KNOWN
    later = calibrations.of(Band.DEFAULT, "slow", FORGET_S)
    assert later.factor == UNTIL_KNOWN, "what a bad moment taught ends by itself"


def test_lengths_are_the_tenants_own_then_everybodys_then_the_most() -> None:
    lengths = OutputLengths()
    assert lengths.likely("a", 500) == 500
    for _ in range(10):
        lengths.learn("a", 20)
    assert lengths.likely("a", 500) == 20
    assert lengths.likely("a", 5) == 5
    assert lengths.likely("new", 500) == 20
    for _ in range(10):
        lengths.learn("b", 300)
    assert (lengths.likely("a", 500), lengths.likely("b", 500), lengths.likely("new", 500)) == (20, 300, 300)


def test_lengths_of_old_tenants_make_room() -> None:
    lengths = OutputLengths()
    for _ in range(10):
        lengths.learn("old", 20)
    for number in range(MAX_TENANTS):
        lengths.learn(f"t{number}", 300)
    assert lengths.likely("old", 500) == 300


def test_a_meter_is_right_at_once_and_forgets() -> None:
    meter = RateMeter()
    assert meter.per_s(0.0) == 0.0
    for number in range(10):
        meter.add(1, number / 10)
    assert meter.per_s(1.0) == pytest.approx(10.0, rel=0.1)
    assert meter.per_s(100.0) < 1e-6


ENGINE = EngineLoad(
    engine_id="e0",
    capacity=Capacity(max_num_seqs=8, max_num_batched_tokens=512, max_model_len=4096, num_blocks=99, block_size=16),
    sequences=8,
    free_blocks=0,
    prefill_tokens=0,
    limit=8.0,
    pace=None,
)


def stays(service: ServiceTime, seconds: float, number: int) -> None:
    for index in range(number):
        service.begin(f"{seconds}/{index}", 0.0, 10, None)
        service.end(f"{seconds}/{index}", seconds, 8)


def test_answers_that_get_longer_show_before_they_end() -> None:
    service = ServiceTime()
    stays(service, 1.0, 64)
    before = service.slots_per_s(ENGINE, 0.0)
    for number in range(40):
        service.begin(f"long{number}", 0.0, 10, None)
    young, old = service.slots_per_s(ENGINE, 0.9), service.slots_per_s(ENGINE, 4.0)
    assert before == young == pytest.approx(8.0)
    assert old is not None
    assert old < 0.6 * 8.0


def test_a_tenth_that_runs_long_is_nothing_new() -> None:
    service = ServiceTime()
    stays(service, 1.0, 64)
    for number in range(40):
        service.begin(f"r{number}", 0.0 if number < 4 else 4.5, 10, None)
    assert service.slots_per_s(ENGINE, 5.0) == pytest.approx(8.0)


def test_who_left_says_nothing_of_how_long_it_takes() -> None:
    service = ServiceTime()
    service.begin("r", 0.0, 10, None)
    service.forget("r")
    service.end("r", 5.0, 8)
    assert not service.known
    assert service.slots_per_s(ENGINE, 5.0) is None
    assert service.num_running == 0


def arrive(shares: Shares, one: Ask, per_s: float, *, until: float = 10.0) -> None:
    for number in range(int(per_s * until)):
        shares.want(one, number / per_s)
        shares.take(one, number / per_s)


def test_a_tenant_alone_has_its_band_to_itself() -> None:
    shares = Shares()
    arrive(shares, ask("a"), 4.0)
    assert shares.part(ask("a"), 8.0, {}, 10.0) == pytest.approx(8.0)


def test_a_light_neighbour_takes_what_it_asks_for_and_a_heavy_one_its_share() -> None:
    light, heavy = Shares(), Shares()
    arrive(light, ask("n"), 1.0)
    arrive(heavy, ask("n"), 50.0)
    assert light.part(ask("a"), 8.0, {}, 10.0) == pytest.approx(7.0, abs=0.3)
    assert heavy.part(ask("a"), 8.0, {}, 10.0) == pytest.approx(4.0)


def test_shares_are_by_weight_and_by_tokens() -> None:
    shares = Shares()
    arrive(shares, ask("n", prompt=300), 50.0)
    assert shares.part(ask("a", weight=3.0), 8.0, {}, 10.0) == pytest.approx(6.0)
    shares.want(ask("b"), 10.0)
    shares.take(ask("b"), 10.0)  # a request of the other's has three times the tokens, so it gets a third of the slots
    assert shares.part(ask("b"), 8.0, {}, 10.0) == pytest.approx(6.0)


def test_a_band_gets_what_those_above_leave_down_to_its_floor() -> None:
    some, all_of_it = Shares(), Shares()
    arrive(some, ask("i", band=Band.INTERACTIVE), 2.0)
    arrive(all_of_it, ask("i", band=Band.INTERACTIVE), 20.0)
    assert some.part(ask("a"), 8.0, {}, 10.0) == pytest.approx(6.0, abs=0.4)
    assert all_of_it.part(ask("a"), 8.0, {}, 10.0) == pytest.approx(0.8)
    bulk = {Band.BULK: {"b": Waiting(1, 1, 1)}}
    assert Shares().part(ask("a"), 8.0, bulk, 10.0) == pytest.approx(7.6)
