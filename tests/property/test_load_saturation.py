"""The saturation search finds the edge of whatever server it is let at, from below, and asks no more than it must."""

from hypothesis import given
from hypothesis import strategies as st

from spillway_load.campaign import Saturation
from spillway_load.result import Level
from spillway_load.saturation import search


def level(rate: float, *, met: bool, valid: bool = True) -> Level:
    return Level(
        rate=rate,
        met=met,
        valid=valid,
        good_per_s=rate,
        tokens_per_s=0.0,
        good_share=1.0,
        shed_share=0.0,
        ttft_p50_ms=None,
        ttft_p95_ms=None,
        ttft_p99_ms=None,
        missed=[],
    )


@given(st.floats(0.1, 2000), st.floats(0.02, 0.5))
def test_the_edge_is_found_to_the_precision_asked_for(edge: float, precision: float) -> None:
    saturation = Saturation(lowest=1.0, highest=1000.0, precision=precision)
    levels, highest = search(saturation, lambda rate: level(rate, met=rate <= edge))
    if edge < 1.0:
        assert (len(levels), highest) == (1, None)
    elif edge >= 1000.0:
        assert highest == 1000.0
    else:
        assert highest is not None
        assert highest <= edge <= highest * (1 + precision) * (1 + 1e-9)
    assert len(levels) <= 20


def test_a_generator_that_lags_ends_the_search() -> None:
    saturation = Saturation(lowest=1.0, highest=1000.0)
    levels, highest = search(saturation, lambda rate: level(rate, met=True, valid=rate < 4))
    assert ([each.rate for each in levels], highest) == ([1.0, 2.0, 4.0], 2.0)
