"""Whom a fault may hit: Spillway's own processes alone, and no more than was said."""

import os
import random
from typing import Any

import pytest

from spillway_chaos.errors import BlastError, FaultError
from spillway_chaos.stage.load import Rate, Second, together
from spillway_chaos.stage.metrics import by_label, read, total
from spillway_chaos.stage.targets import BlastRadius, choose, owned

POOL: dict[str, Any] = {
    "engines": [
        {"id": "engine-0", "pid": 10, "running": 1, "waiting": 0, "incarnation": 1},
        {"id": "engine-1", "pid": 11, "running": 3, "waiting": 1, "incarnation": 1},
        {"id": "engine-2", "pid": None, "running": 9, "waiting": 9, "incarnation": 1},
    ],
    "gateways": [],
    "ops": {"id": "ops", "pid": 12},
    "redis": {"pid": None, "state": "external"},
    "supervisor": {"pid": 9},
}


def test_no_more_are_hit_than_the_drill_may() -> None:
    blast = BlastRadius({"engine": 1})
    blast.claim("engine", "engine-0")
    blast.claim("engine", "engine-0")
    with pytest.raises(BlastError, match="'engine-1' is outside of the blast radius: at most 1"):
        blast.claim("engine", "engine-1")
    with pytest.raises(BlastError, match="at most 0 of this kind"):
        blast.claim("gateway", "gateway-0")


def test_a_process_that_spillway_did_not_start_is_let_alone() -> None:
    place = {"id": "engine-0", "pid": os.getppid(), "incarnation": 1}
    with pytest.raises(BlastError, match="is no child of the platform"):
        owned(os.getpid(), place, "engine")
    assert owned(os.getppid(), {"id": "me", "pid": os.getpid()}, "engine").pid == os.getpid()
    with pytest.raises(FaultError, match="is gone already"):
        owned(os.getpid(), {"id": "engine-0", "pid": 2**22 + 1}, "engine")


def test_victims_are_drawn_by_the_seed_or_are_the_busiest_or_named() -> None:
    assert choose(POOL, "engine", "busiest", random.Random(1))["id"] == "engine-1"
    assert choose(POOL, "engine", "engine-0", random.Random(1))["id"] == "engine-0"
    drawn = {choose(POOL, "engine", "drawn", random.Random(seed))["id"] for seed in range(20)}
    assert drawn == {"engine-0", "engine-1"}
    assert choose(POOL, "supervisor", "drawn", random.Random(1))["pid"] == 9
    for kind, which in (("gateway", "drawn"), ("redis", "drawn"), ("engine", "engine-2")):
        with pytest.raises(FaultError, match=f"there is no {kind} to hit"):
            choose(POOL, kind, which, random.Random(1))


def test_samples_are_summed_by_their_labels() -> None:
    samples = read('# TYPE a counter\na_total{x="1",y="p"} 2\na_total{x="2",y="p"} 3\n# TYPE b gauge\nb 4\n')
    assert (total(samples, "a_total"), total(samples, "a_total", x="2"), total(samples, "b")) == (5.0, 3.0, 4.0)
    assert total(samples, "a_total", x="3") == total(samples, "c") == 0.0
    assert by_label(samples, "a_total", "y") == {"p": 5.0}


def test_two_loads_are_one_on_the_clock_of_the_first(fake_drill: Any) -> None:
    main = fake_drill.load_result()
    more = fake_drill.load_result(
        started_monotonic=fake_drill.START + 4.2,
        fates={"good": 10, "refused": 30},
        timeline=[Second(second, 20, 5, 0, 15) for second in range(2)],
        shares={"good": Rate(0.25, 40), "shed": Rate(0.75, 40)},
        valid=False,
    )
    both = together(main, more)
    assert both.fates == {"good": 90, "failed": 0, "unfinished": 0, "refused": 30}
    assert both.timeline[3:7] == [
        Second(3, 8, 8, 0, 0), Second(4, 28, 13, 0, 15), Second(5, 28, 13, 0, 15), Second(6, 8, 8, 0, 0)
    ]  # fmt: skip
    assert both.shares["shed"].value == pytest.approx(0.25)
    assert not both.valid
