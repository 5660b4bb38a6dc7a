from itertools import product

import pytest

from spillway_engine.lifecycle import TRANSITIONS, Event, Status, follow
from spillway_wire.states import IllegalTransitionError


@pytest.mark.parametrize(("status", "event"), sorted(TRANSITIONS, key=str))
def test_the_table_is_followed(status: Status, event: Event) -> None:
    assert follow(status, event) is TRANSITIONS[status, event]


@pytest.mark.parametrize(("status", "event"), [pair for pair in product(Status, Event) if pair not in TRANSITIONS])
def test_what_the_table_does_not_name_is_refused(status: Status, event: Event) -> None:
    with pytest.raises(IllegalTransitionError, match=f"{event.name.lower()} .* {status.name.lower()}"):
        follow(status, event)


def test_every_state_can_be_reached_and_ends() -> None:
    reached = {Status.WAITING} | set(TRANSITIONS.values())
    assert reached == set(Status)
    for status in reached - {Status.FINISHED}:
        assert follow(status, Event.FINISH) is Status.FINISHED
    assert not [event for event in Event if (Status.FINISHED, event) in TRANSITIONS]
