"""What ops makes of the supervisor's status: which states take work, and which reasons a probe names."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest

from spillway.ops.readiness import readiness_facts
from spillway.readiness import reasons_not_ready


def reasons(status: Mapping[str, Any]) -> list[str]:
    return reasons_not_ready(readiness_facts(status))


def test_it_is_ready_while_every_model_has_an_engine(fake_supervisor: ModuleType) -> None:
    engine, status = fake_supervisor.engine, fake_supervisor.status

    assert reasons(status()) == []
    assert reasons(status(engines=[engine(state="parked"), engine("engine-1", state="ready")])) == []


def test_every_model_without_an_engine_is_named_with_the_states_of_its_engines(fake_supervisor: ModuleType) -> None:
    engine, status = fake_supervisor.engine, fake_supervisor.status
    engines = [
        engine("engine-0", state="backoff", model="chat"),
        engine("engine-1", state="draining", model="chat"),
        engine("engine-2", model="demo"),
    ]

    found = status(engines=engines, models=[{"name": "chat"}, {"name": "demo"}, {"name": "lost"}])

    assert reasons(found) == [
        "model chat: no engine is ready (1 backoff, 1 draining)",
        "model lost: no engine",
    ]


@pytest.mark.parametrize(
    "state", ["spawning", "loading", "warming", "standby", "draining", "stopped", "hung", "parked"]
)
def test_no_state_but_ready_takes_work(fake_supervisor: ModuleType, state: str) -> None:
    found = fake_supervisor.status(engines=[fake_supervisor.engine(state=state)])

    assert reasons(found) == [f"model demo: no engine is ready (1 {state})"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"phase": "unready"}, "shutting down (unready)"),
        ({"phase": "refusing"}, "shutting down (refusing)"),
        ({"gateways": []}, "no gateway is running"),
        ({"ready": False}, "starting"),
    ],
)
def test_other_reasons_are_named(fake_supervisor: ModuleType, change: dict[str, Any], reason: str) -> None:
    assert reasons(fake_supervisor.status(**change)) == [reason]


def test_one_gateway_is_enough(fake_supervisor: ModuleType) -> None:
    gateway, status = fake_supervisor.gateway, fake_supervisor.status

    both = [gateway("gateway-0", state="crashed"), gateway("gateway-1")]
    assert reasons(status(gateways=both)) == []
    assert reasons(status(gateways=both[:1])) == ["no gateway is running"]


def test_nothing_known_is_not_ready() -> None:
    assert reasons({}) == ["no model is served yet", "no gateway is running"]
