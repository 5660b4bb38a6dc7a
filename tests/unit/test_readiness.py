"""Ready means that a request sent now would be served; otherwise the reasons are named. One rule for all who ask."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.ops.readiness import readiness_facts
from spillway.readiness import Facts, ModelFacts, reasons_not_ready
from spillway_wire.plane import PhaseKind

READY = Facts(
    models=[
        ModelFacts(name="a", num_ready=1, num_engines=2),
        ModelFacts(name="b", num_ready=2, num_engines=2, states=["ready", "ready"]),
    ]
)


def test_a_server_with_an_engine_for_every_model_is_ready() -> None:
    assert reasons_not_ready(READY) == []


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        (ModelFacts(name="b", num_ready=0, num_engines=0), "model b: no engine"),
        (ModelFacts(name="b", num_ready=0, num_engines=3), "model b: no engine is ready, of 3"),
        (
            ModelFacts(name="b", num_ready=0, num_engines=3, states=["parked", "backoff", "parked"]),
            "model b: no engine is ready (1 backoff, 2 parked)",
        ),
    ],
)
def test_a_model_without_an_engine_is_named_with_what_is_known_of_its_engines(lacking: ModelFacts, reason: str) -> None:
    assert reasons_not_ready(Facts(models=[READY.models[0], lacking])) == [reason]


@pytest.mark.parametrize("phase", [PhaseKind.UNREADY, PhaseKind.REFUSING, PhaseKind.ENDING])
def test_a_server_that_is_about_to_end_is_not_ready(phase: PhaseKind) -> None:
    assert reasons_not_ready(replace(READY, phase=phase)) == [f"shutting down ({phase})"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"models": []}, "no model is served yet"),
        ({"num_gateways": 0}, "no gateway is running"),
        ({"is_started": False}, "starting"),
    ],
)
def test_other_reasons_are_named(change: dict[str, Any], reason: str) -> None:
    assert reasons_not_ready(replace(READY, **change)) == [reason]


def test_that_it_starts_is_said_only_where_nothing_better_is_known() -> None:
    assert reasons_not_ready(replace(READY, is_started=False, num_gateways=0)) == ["no gateway is running"]


MODELS = st.builds(
    ModelFacts,
    name=st.sampled_from(["a", "b"]),
    num_ready=st.integers(0, 2),
    num_engines=st.integers(0, 3),
    states=st.just(()) | st.lists(st.sampled_from(["parked", "loading"]), max_size=3),
)
FACTS = st.builds(
    Facts,
    models=st.lists(MODELS, max_size=3),
    phase=st.sampled_from([*PhaseKind]),
    num_gateways=st.integers(0, 2),
    is_started=st.booleans(),
)
MENDS: tuple[Callable[[Facts], Facts], ...] = (
    lambda facts: replace(facts, phase=PhaseKind.SERVING),
    lambda facts: replace(facts, models=[replace(model, num_ready=1) for model in facts.models] or READY.models),
    lambda facts: replace(facts, num_gateways=1),
    lambda facts: replace(facts, is_started=True),
)


@given(FACTS)
def test_what_is_mended_is_never_a_new_reason_and_all_mended_is_ready(facts: Facts) -> None:
    before = reasons_not_ready(facts)
    for mend in MENDS:
        facts = mend(facts)
        after = reasons_not_ready(facts)
        assert set(after) <= {*before, "starting"}
        assert len(after) <= max(1, len(before))
    assert reasons_not_ready(facts) == []


def test_a_gateway_and_ops_say_the_same_of_what_both_can_see() -> None:
    seen_by_a_gateway = Facts(phase="refusing", models=[ModelFacts(name="demo", num_ready=0, num_engines=0)])
    seen_by_ops = readiness_facts(
        {"phase": "refusing", "models": [{"name": "demo"}], "engines": [], "gateways": [{"state": "ready"}]}
    )
    assert reasons_not_ready(seen_by_a_gateway) == reasons_not_ready(seen_by_ops) != []
