"""Credits: what each client may send, who gets what is free, and what comes back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from spillway_engine.process.credits import Credits, window_of

STANDING = 2


def joined(window: int, *names: str) -> Credits:
    bank = Credits(window, STANDING)
    for name in names:
        bank.join(name)
    return bank


def test_the_window_is_a_full_batch_and_enough_to_refill_it() -> None:
    assert [window_of(n) for n in (1, 4, 16, 256)] == [5, 8, 20, 320]


def test_a_new_client_may_send_at_once_and_gets_back_what_it_spends() -> None:
    bank = joined(4, "a")
    assert bank.total("a") == STANDING
    bank.spend("a")
    assert bank.grant(in_hand=1) == {"a": STANDING + 1}
    assert bank.grant(in_hand=1) == {}


def test_an_engine_with_its_hands_full_grants_nothing() -> None:
    bank = joined(4, "a")
    bank.hear("a", 10, 0)
    assert bank.grant(in_hand=4) == {}
    assert bank.grant(in_hand=9) == {}
    assert bank.grant(in_hand=3) == {"a": STANDING + 1}


def test_free_places_go_to_backlogs_in_proportion() -> None:
    bank = joined(12, "a", "b", "c")
    bank.hear("a", STANDING + 30, 0)
    bank.hear("b", STANDING + 20, 0)
    bank.hear("c", STANDING + 10, 0)
    assert bank.grant(in_hand=0) == {"a": STANDING + 6, "b": STANDING + 4, "c": STANDING + 2}


def test_the_smallest_backlog_gets_its_turn_however_large_the_others_are() -> None:
    bank = joined(1, "large", "small")
    for name in ("large", "small"):
        for _ in range(STANDING):
            bank.spend(name)
    got = {"large": 0, "small": 0}
    for _ in range(101):
        bank.hear("large", 100, 0)
        bank.hear("small", 1, 0)
        for name in bank.grant(in_hand=0):
            got[name] += 1
            bank.spend(name)
    assert got == {"large": 100, "small": 1}


def test_what_the_backlog_does_not_take_tops_up_the_standing_credits() -> None:
    bank = joined(3, "a", "b")
    for _ in range(STANDING):
        bank.spend("a")
        bank.spend("b")
    bank.hear("a", 1, 0)
    assert bank.grant(in_hand=0) == {"a": STANDING + 1, "b": STANDING + 2}


def test_returned_credits_are_granted_to_others() -> None:
    bank = joined(4, "a", "b")
    bank.hear("a", 10, 0)
    bank.hear("b", 0, 0)
    assert bank.grant(in_hand=0) == {"a": STANDING + 4}
    bank.hear("b", 10, 0)
    assert bank.grant(in_hand=0) == {}
    bank.hear("a", 0, 4)
    assert bank.grant(in_hand=0) == {"b": STANDING + 4}


def test_a_client_that_goes_away_gives_its_credits_back() -> None:
    bank = joined(4, "a", "b")
    bank.hear("a", 10, 0)
    bank.grant(in_hand=0)
    bank.leave("a")
    bank.leave("a")
    bank.hear("b", 10, 0)
    assert bank.grant(in_hand=0) == {"b": STANDING + 4}
    assert bank.total("a") == 0


@pytest.mark.parametrize(("waiting", "returned"), [(-5, 0), (0, -3), (2**40, 2**40)])
def test_absurd_numbers_do_no_harm(waiting: int, returned: int) -> None:
    bank = joined(4, "a")
    bank.hear("a", waiting, returned)
    bank.grant(in_hand=0)
    bank.check_integrity()
    assert 0 <= bank.unspent <= 4 + STANDING


def test_a_client_without_a_backlog_is_not_held_to_its_credits() -> None:
    bank = joined(4, "a")
    for _ in range(20):
        bank.spend("a")
    bank.check_integrity()
    assert bank.grant(in_hand=20) == {}
    assert bank.grant(in_hand=0) == {"a": 20 + STANDING}


@given(
    backlogs=st.lists(st.integers(1, 200), min_size=1, max_size=6),
    window=st.integers(1, 300),
    in_hand=st.integers(0, 300),
)
def test_one_round_is_proportional_within_one_and_leaves_nothing_over(
    backlogs: list[int], window: int, in_hand: int
) -> None:
    bank = joined(window)
    for number, waiting in enumerate(backlogs):
        bank.join(str(number))
        bank.hear(str(number), STANDING + waiting, 0)
    free = max(0, window - in_hand)
    totals = bank.grant(in_hand)
    got = [totals.get(str(number), STANDING) - STANDING for number in range(len(backlogs))]
    assert sum(got) == min(free, sum(backlogs))
    for number, waiting in zip(got, backlogs, strict=True):
        fair = min(free, sum(backlogs)) * waiting / sum(backlogs)
        assert abs(number - fair) < 1.0 + 1e-9
        assert number <= waiting


class CreditsMachine(RuleBasedStateMachine):
    """Clients that keep to their credits, and an engine that takes whatever they send."""

    def __init__(self) -> None:
        super().__init__()
        self.window = 6
        self.credits = Credits(self.window, STANDING)
        self.sent: dict[str, int] = {}
        self.returned: dict[str, int] = {}
        self.waiting: dict[str, int] = {}
        self.held: dict[str, int] = {}
        """What the engine has in hand, by client."""

    @property
    def in_hand(self) -> int:
        return sum(self.held.values())

    def left(self, name: str) -> int:
        return self.credits.total(name) - self.sent[name] - self.returned[name]

    @rule(name=st.sampled_from("abc"))
    def join_or_leave(self, name: str) -> None:
        if name in self.sent:
            del self.sent[name], self.held[name]
            self.credits.leave(name)
        else:
            self.credits.join(name)
            self.sent[name] = self.returned[name] = self.waiting[name] = self.held[name] = 0

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), number=st.integers(0, 9))
    def tell(self, data: st.DataObject, number: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.sent)))
        self.waiting[name] = number
        spare = max(0, self.left(name) - max(number, STANDING))
        self.returned[name] += spare
        self.credits.hear(name, number, self.returned[name])

    @precondition(lambda self: any(self.left(name) > 0 for name in self.sent))
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name in sorted(self.sent) if self.left(name) > 0]))
        self.sent[name] += 1
        self.waiting[name] = max(0, self.waiting[name] - 1)
        self.credits.spend(name)
        self.held[name] += 1

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name in sorted(self.held) if self.held[name]]))
        self.held[name] -= data.draw(st.integers(1, self.held[name]))

    @rule()
    def grant(self) -> None:
        before = {name: self.left(name) for name in self.sent}
        free = self.credits.free(self.in_hand)
        changed = self.credits.grant(self.in_hand).keys()
        granted = {name: self.left(name) - before[name] for name in self.sent}
        assert {name for name in granted if granted[name] > 0} == changed
        assert min(granted.values(), default=0) >= 0
        wanted = any(self.waiting[name] > self.left(name) for name in self.sent)
        assert sum(granted.values()) == free if wanted else sum(granted.values()) <= free

    @invariant()
    def never_more_is_out_than_the_window_and_the_standing_credits(self) -> None:
        self.credits.check_integrity()
        assert sum(self.left(name) for name in self.sent) == self.credits.unspent
        assert self.in_hand + self.credits.unspent <= self.window + STANDING * len(self.sent)


def test_credits_are_bounded_and_work_conserving_whatever_clients_do() -> None:
    run_state_machine_as_test(CreditsMachine, settings=settings(max_examples=200, deadline=None))
