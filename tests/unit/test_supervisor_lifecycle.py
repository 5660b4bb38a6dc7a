"""The table of a place's states: what it forbids, and that nobody is trapped in it."""

import pytest

from spillway.supervisor.lifecycle import (
    ALIVE,
    LISTENING,
    RESTING,
    STARTING,
    TRANSITIONS,
    Event,
    State,
    allows,
    follow,
)
from spillway_wire.states import IllegalTransitionError

ILLEGAL = [(state, event) for state in State for event in Event if (state, event) not in TRANSITIONS]


def reachable(start: State) -> set[State]:
    found, fresh = {start}, [start]
    while fresh:
        state = fresh.pop()
        after = {target for (before, _), target in TRANSITIONS.items() if before is state} - found
        found |= after
        fresh += after
    return found


@pytest.mark.parametrize(("state", "event"), ILLEGAL)
def test_an_event_outside_the_table_is_refused(state: State, event: Event) -> None:
    assert not allows(state, event)
    with pytest.raises(IllegalTransitionError, match=f"{event.name.lower()} is not allowed while {state}"):
        follow(state, event)


@pytest.mark.parametrize(("state", "event"), list(TRANSITIONS))
def test_every_event_of_the_table_leads_somewhere_else(state: State, event: Event) -> None:
    assert allows(state, event)
    assert follow(state, event) is not state


def test_every_state_can_be_reached_and_left_for_every_other() -> None:
    for state in State:
        assert reachable(state) == set(State)


def test_an_engine_lives_through_the_states_of_the_design() -> None:
    state = State.STOPPED
    told = []
    for event in (
        Event.START, Event.LOAD, Event.WARM, Event.HOLD, Event.PROMOTE, Event.HANG, Event.DIE, Event.WAIT, Event.RETRY,
        Event.SERVE, Event.DRAIN, Event.STOP,
    ):  # fmt: skip
        state = follow(state, event)
        told.append(state.value)
    assert told == [
        "spawning", "loading", "warming", "standby", "ready", "hung", "crashed", "backoff", "spawning",
        "ready", "draining", "stopped",
    ]  # fmt: skip


def test_the_groups_of_states_cover_all_and_do_not_overlap() -> None:
    assert STARTING | LISTENING | {State.HUNG} == ALIVE
    assert not STARTING & LISTENING
    assert ALIVE | RESTING | {State.CRASHED} == set(State)
    assert not ALIVE & RESTING
