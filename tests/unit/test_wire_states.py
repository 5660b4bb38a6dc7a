"""Following a table of states: an event that it does not know raises, and nothing has changed."""

from enum import Enum, auto

import pytest

from spillway_wire.states import IllegalTransitionError, follow


class Light(Enum):
    RED = auto()
    GREEN = auto()


class Signal(Enum):
    GO = auto()
    STOP = auto()


TABLE = {(Light.RED, Signal.GO): Light.GREEN, (Light.GREEN, Signal.STOP): Light.RED}


def test_a_table_is_followed_from_state_to_state() -> None:
    assert follow(TABLE, Light.RED, Signal.GO) is Light.GREEN
    assert follow(TABLE, Light.GREEN, Signal.STOP) is Light.RED


def test_an_event_that_the_table_does_not_know_is_told_with_the_state() -> None:
    with pytest.raises(IllegalTransitionError, match=r"^stop is not allowed while red$"):
        follow(TABLE, Light.RED, Signal.STOP)
    with pytest.raises(IllegalTransitionError, match=r"^go is not allowed while green$"):
        follow(TABLE, Light.GREEN, Signal.GO)
