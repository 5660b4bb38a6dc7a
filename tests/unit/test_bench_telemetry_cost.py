"""What telemetry costs is judged by pairs: medians that a bad round does not move, and intervals that say how sure."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillway.bench.pairs import middle
from spillway.bench.telemetry_cost import ARMS, OFF, Turn, costs, promises, rows, short_chats

TENTH, ALL = (arm for arm in ARMS if arm != OFF)


def rounds(tenth: float, all_: float, *, later_s: float = 0.0, noise: float = 0.01) -> list[dict[str, Turn]]:
    """Fifteen rounds; the machine is slower in some than in others, and one of them was upset."""
    randomness, found = random.Random(3), []
    for number in range(15):
        base = 0.005 * randomness.uniform(0.8, 1.5) * (4.0 if number == 7 else 1.0)

        def turn(more: float, base: float = base) -> Turn:
            return Turn(200, base * (1 + more + randomness.gauss(0, noise)), 0.05 + randomness.gauss(0, 0.001))

        each = {OFF: turn(0.0), TENTH: turn(tenth), ALL: turn(all_)}
        found.append(each | {ALL: Turn(200, each[ALL].cpu_s, each[ALL].p99_s + later_s)})
    return found


def test_what_costs_little_keeps_its_promises() -> None:
    found = costs(rounds(0.01, 0.03))
    assert found[TENTH].cpu.median == pytest.approx(0.01, abs=0.01)
    assert found[ALL].cpu.median == pytest.approx(0.03, abs=0.01)
    assert found[ALL].cpu.low <= found[ALL].cpu.median <= found[ALL].cpu.high
    assert all(promises(found, left_out_us=7.0).values())
    assert [row["on"] for row in rows(found)] == [TENTH, ALL]


@pytest.mark.parametrize(
    ("found", "left_out_us", "broken"),
    [
        (costs(rounds(0.06, 0.03)), 7.0, TENTH),
        (costs(rounds(0.01, 0.09)), 7.0, ALL),
        (costs(rounds(0.01, 0.03, later_s=0.02)), 7.0, "p99"),
        (costs(rounds(0.01, 0.03)), 900.0, "not kept"),
    ],
    ids=["a tenth", "all", "latency", "left out"],
)
def test_what_costs_much_breaks_them(found: dict[str, object], left_out_us: float, broken: str) -> None:
    said = [promise for promise, held in promises(found, left_out_us).items() if not held]  # type: ignore[arg-type]
    assert len(said) == 1
    assert broken in said[0]


@settings(max_examples=25)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30))
def test_a_middle_lies_in_its_interval_and_is_the_same_each_time(values: list[float]) -> None:
    found = middle(values)
    assert min(values) <= found.low <= found.high <= max(values)
    assert found == middle(values)
    assert found.holds_zero is (found.low <= 0 <= found.high)


def test_requests_are_the_same_in_every_run() -> None:
    assert short_chats() == short_chats()
    assert sum(b'"stream":true' in message for message in short_chats()) == len(short_chats()) // 2
