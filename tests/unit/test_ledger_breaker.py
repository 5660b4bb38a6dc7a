from dataclasses import dataclass, field

import pytest
from tenacity import RetryCallState, Retrying

from spillway.admission.ledger.breaker import TRANSITIONS, Breaker, BreakerPolicy, Event, Sign, State
from spillway_wire.states import IllegalTransitionError, follow


@dataclass
class Bench:
    now: float = 0.0
    seen: list[State] = field(default_factory=list)

    def breaker(self) -> Breaker:
        return Breaker(BreakerPolicy(), clock=lambda: self.now, on_change=self.seen.append)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_five_errors_within_a_second_open_it(bench: Bench) -> None:
    breaker = bench.breaker()
    for _ in range(4):
        breaker.note(Sign.ERROR)
        breaker.note(Sign.ANSWERED)  # of another batch: errors count all the same
    assert breaker.is_closed
    bench.now = 1.0
    breaker.note(Sign.ERROR)
    assert breaker.state is State.OPEN


def test_five_errors_in_more_than_a_second_do_not(bench: Bench) -> None:
    breaker = bench.breaker()
    for _ in range(20):
        breaker.note(Sign.ERROR)
        bench.now += 0.3
    assert breaker.is_closed


def test_three_timeouts_in_a_row_open_it_and_an_answer_between_does_not_let_them(bench: Bench) -> None:
    breaker = bench.breaker()
    for sign in (Sign.TIMEOUT, Sign.TIMEOUT, Sign.ANSWERED, Sign.TIMEOUT, Sign.TIMEOUT):
        breaker.note(sign)
        bench.now += 2
    assert breaker.is_closed
    breaker.note(Sign.TIMEOUT)
    assert bench.seen == [State.OPEN]


def test_a_probe_decides_and_what_began_before_says_nothing(bench: Bench) -> None:
    breaker = bench.breaker()
    for _ in range(5):
        breaker.note(Sign.ERROR)
    breaker.note(Sign.ANSWERED)
    breaker.note(Sign.TIMEOUT)
    breaker.probe()
    breaker.probed(succeeded=False)
    breaker.probe()
    breaker.probed(succeeded=True)
    assert bench.seen == [State.OPEN, State.HALF_OPEN, State.OPEN, State.HALF_OPEN, State.CLOSED]
    for _ in range(4):  # those of before are forgotten
        breaker.note(Sign.ERROR)
    assert breaker.is_closed


def test_probes_wait_a_second_and_not_all_the_same() -> None:
    state = RetryCallState(Retrying(), None, (), {})
    waits = [BreakerPolicy().probe_wait(state) for _ in range(50)]
    assert all(1.0 <= wait <= 1.25 for wait in waits)
    assert len(set(waits)) > 1


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_an_event_that_the_table_lacks_changes_nothing(state: State, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert follow(TRANSITIONS, state, event) is not state
    else:
        with pytest.raises(IllegalTransitionError):
            follow(TRANSITIONS, state, event)


def test_a_closed_breaker_is_not_probed(bench: Bench) -> None:
    breaker = bench.breaker()
    with pytest.raises(IllegalTransitionError):
        breaker.probe()
    assert bench.seen == []
