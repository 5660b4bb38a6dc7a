"""What an instance owes, and when it is idle."""

from dataclasses import replace
from typing import Any

import pytest

from spillway.bench.books import Books, is_idle

BOOKS = Books(
    states={"engine-0": "ready"},
    running=0,
    waiting=0,
    used_blocks=0,
    open_requests=0,
    journal_entries=0,
    processes={"spillway_engine": 1},
    runtime_files=5,
    file_descriptors={"gateway-0": 20},
    resident_mb={"gateway-0": 90.0},
)


@pytest.mark.parametrize(
    ("changes", "owed"),
    [
        ({}, {}),
        ({"journal_entries": 1}, {"journal_entries": 1}),
        ({"open_requests": 2}, {"open_requests": 2}),
        ({"states": {"engine-0": "backoff"}}, {"states": {"engine-0": "backoff"}}),
        ({"processes": {}}, {"processes": {"spillway_engine": -1}}),
        ({"file_descriptors": {"gateway-0": 22, "gateway-1": 9}}, {"file_descriptors": {"gateway-0": 2}}),
        ({"file_descriptors": {"gateway-0": 19}}, {}),
        ({"resident_mb": {"gateway-0": 900.0}}, {}),
    ],
)
def test_whatever_was_not_given_back_is_owed(changes: dict[str, Any], owed: dict[str, Any]) -> None:
    assert replace(BOOKS, **changes).owed(BOOKS) == owed


def pool(**gateway: Any) -> dict[str, Any]:
    engine = {"state": "ready", "running": 0, "waiting": 0, "kv_blocks": {"total": 9, "free": 9}}
    idle = {"state": "ready", "open_requests": 0, "facts": {"journal_entries": 0.0}}
    return {"ready": True, "engines": [engine], "gateways": [idle | gateway]}


@pytest.mark.parametrize(
    ("gateway", "idle"),
    [
        ({}, True),
        ({"facts": {}}, True),
        ({"facts": {"journal_entries": 1.0}}, False),
        ({"open_requests": 1}, False),
        ({"state": "starting"}, False),
    ],
)
def test_an_instance_is_idle_when_nothing_is_open_in_any_book(gateway: dict[str, Any], *, idle: bool) -> None:
    assert is_idle(pool(**gateway)) is idle
