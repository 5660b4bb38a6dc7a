"""The order of fresh work, rule by rule: bands, promotion, due times, refunds; and that it forgets who is gone."""

from typing import Any

import pytest

from spillway.admission.contract import Band
from spillway.admission.queue.bands import PROMOTE_S, FreshLine
from spillway.admission.queue.fairness import MAX_IDLE, OUTPUT_COST, FairLine
from spillway.admission.queue.line import Line
from spillway.pool.contract import Work
from spillway.pool.journal import Entry
from spillway_wire.sampling import SamplingParams

BULK, DEFAULT, INTERACTIVE, SYSTEM = Band.BULK, Band.DEFAULT, Band.INTERACTIVE, Band.SYSTEM


class Desk:
    """A line with names for its entries."""

    def __init__(self) -> None:
        self.line: FreshLine[Entry] = FreshLine()
        self.now = 0.0
        self.entries: dict[str, Entry] = {}

    def ask(self, name: str, band: Band = DEFAULT, *, tokens: int = 10, **fields: Any) -> None:
        work = Work(
            request_id=name,
            model="m",
            prompt_token_ids=[0] * tokens,
            params=SamplingParams(),
            band=band,
            **fields,
        )
        entry = self.entries[name] = Entry(work, len(self.entries), self.now, ())
        self.line.push(entry)

    def send(self) -> str | None:
        entry = self.line.first(self.now)
        if entry is None:
            return None
        self.line.take(entry, len(entry.work.prompt_token_ids), self.now)
        return entry.request_id

    def send_all(self) -> list[str]:
        return list(iter(self.send, None))


def test_a_lower_band_waits_for_a_higher_one() -> None:
    desk = Desk()
    for name, band in (("b", BULK), ("d", DEFAULT), ("s", SYSTEM), ("i", INTERACTIVE)):
        desk.ask(name, band)
    assert [entry.request_id for entry in desk.line] == ["b", "d", "s", "i"], "iteration is by age"
    assert desk.send_all() == ["s", "i", "d", "b"]


def test_a_tenants_own_order_is_priority_then_due_time_then_arrival() -> None:
    desk = Desk()
    desk.ask("later")
    desk.ask("third")
    desk.ask("tight", ttft_due=2.0)
    desk.ask("tighter", deadline=1.0, ttft_due=2.0)
    desk.ask("far", deadline=1e9)
    desk.ask("urgent", priority=-1)
    desk.ask("humble", priority=1)
    assert desk.send_all() == ["urgent", "tighter", "tight", "later", "third", "far", "humble"]


def test_what_has_no_due_time_is_not_overtaken_for_ever() -> None:
    desk = Desk()
    desk.ask("patient")
    desk.now = PROMOTE_S[DEFAULT] + 1.0
    desk.ask("tight", ttft_due=desk.now + 0.1)
    assert desk.send() == "patient"


def test_the_least_served_tenant_goes_next() -> None:
    desk = Desk()
    for number in range(4):
        desk.ask(f"a{number}", tenant_id="a")
    desk.ask("b0", tenant_id="b", tokens=5)
    desk.ask("b1", tenant_id="b")
    assert [desk.send() for _ in range(2)] == ["a0", "b0"]
    desk.line.charge(desk.entries["b0"], 20)
    assert [desk.send() for _ in range(4)] == ["a1", "a2", "a3", "b1"]


def test_a_tenant_of_twice_the_weight_is_served_twice_as_much() -> None:
    desk = Desk()
    for number in range(20):
        desk.ask(f"one{number}", tenant_id="one")
        desk.ask(f"two{number}", tenant_id="two", weight=2.0)
    sent = [desk.send() for _ in range(15)]
    assert sum(str(name).startswith("two") for name in sent) == 10


def test_a_band_that_is_passed_over_earns_its_floor() -> None:
    desk = Desk()
    for number in range(60):
        desk.ask(f"i{number}", INTERACTIVE)
        desk.ask(f"b{number}", BULK)
    sent = [desk.send() for _ in range(60)]
    assert sum(str(name).startswith("b") for name in sent) == 3, "a twentieth"


def test_a_band_pays_for_the_output_of_what_its_floor_brought() -> None:
    desk = Desk()
    for number in range(100):
        desk.ask(f"i{number}", INTERACTIVE)
        desk.ask(f"b{number}", BULK)
    while desk.send() != "b0":
        pass
    desk.line.charge(desk.entries["b0"], 50)
    sent = [desk.send() for _ in range(60)]
    assert not any(str(name).startswith("b") for name in sent), f"it owes {50 * OUTPUT_COST:g} tokens: 1900 of others'"


def test_what_it_got_while_nobody_above_waited_is_not_held_against_a_band() -> None:
    desk = Desk()
    for number in range(100):
        desk.ask(f"b{number}", BULK)
    for _ in range(50):
        desk.line.charge(desk.entries[str(desk.send())], 100)
    for number in range(30):
        desk.ask(f"i{number}", INTERACTIVE)
    assert sum(str(desk.send()).startswith("b") for _ in range(30)) == 1


def test_a_debt_is_forgiven_when_nobody_above_waits_any_more() -> None:
    desk = Desk()
    for number in range(30):
        desk.ask(f"i{number}", INTERACTIVE)
        desk.ask(f"b{number}", BULK)
    while desk.send() != "b0":
        pass
    desk.line.charge(desk.entries["b0"], 1000)
    while str(desk.send()).startswith("i"):
        pass
    for number in range(30, 60):
        desk.ask(f"i{number}", INTERACTIVE)
    assert sum(str(desk.send()).startswith("b") for _ in range(30)) == 1


def test_credit_is_lost_when_nothing_of_the_band_waits() -> None:
    desk = Desk()
    desk.ask("b", BULK, tokens=10)
    for number in range(30):
        desk.ask(f"i{number}", INTERACTIVE)
    for _ in range(15):
        desk.send()
    desk.line.discard(desk.entries["b"])
    desk.ask("again", BULK, tokens=10)
    assert [desk.send() for _ in range(10)] == [f"i{number}" for number in range(15, 25)]


@pytest.mark.parametrize("band", [INTERACTIVE, DEFAULT, BULK])
def test_a_head_that_has_waited_very_long_goes_first_and_the_next_one_pays(band: Band) -> None:
    desk = Desk()
    for number in range(3):
        desk.ask(f"old{number}", band)
    desk.now = PROMOTE_S[band] - 0.01
    for number in range(20):
        desk.ask(f"s{number}", SYSTEM)
    assert desk.send() == "s0"
    desk.now += 0.01
    assert desk.send() == "old0"
    desk.line.charge(desk.entries["old0"], 1000)
    assert [desk.send() for _ in range(5)] == ["s1", "s2", "s3", "s4", "s5"], "its floor is spent"


def test_the_most_important_band_is_never_promoted_over_by_itself() -> None:
    desk = Desk()
    desk.ask("s", SYSTEM)
    desk.ask("i", INTERACTIVE)
    desk.now = 1e6
    assert desk.send_all() == ["i", "s"], "system has no floor: it needs none"


def test_what_was_never_begun_costs_nothing() -> None:
    desk = Desk()
    for number in range(3):
        desk.ask(f"a{number}", tenant_id="a")
        desk.ask(f"b{number}", tenant_id="b")
    assert [desk.send(), desk.send()] == ["a0", "b0"]
    desk.line.end(desk.entries["a0"], undone=True)
    assert [desk.send(), desk.send()] == ["a1", "a2"]


def test_who_gets_something_back_moves_up_at_once() -> None:
    desk = Desk()
    for number in range(3):
        desk.ask(f"a{number}", tenant_id="a")
        desk.ask(f"b{number}", tenant_id="b")
    desk.send()
    desk.send()
    assert desk.line.first(desk.now) is desk.entries["a1"]
    desk.line.end(desk.entries["b0"], undone=True)
    assert desk.line.first(desk.now) is desk.entries["b1"]


def test_a_refund_reaches_a_band_that_went_on_its_floor() -> None:
    desk = Desk()
    for number in range(100):
        desk.ask(f"i{number}", INTERACTIVE)
        desk.ask(f"b{number}", BULK)
    while (name := desk.send()) != "b0":
        assert name
    desk.line.end(desk.entries["b0"], undone=True)
    assert desk.send() == "b1"


def test_charges_for_what_has_ended_or_was_never_sent_are_ignored() -> None:
    desk = Desk()
    desk.ask("a", tenant_id="a")
    desk.line.charge(desk.entries["a"], 5)
    desk.line.end(desk.entries["a"])
    desk.send()
    desk.line.end(desk.entries["a"])
    desk.line.end(desk.entries["a"])
    desk.line.charge(desk.entries["a"], 5)
    assert desk.line.num_sent == 0


# ---- tenants that are gone ----


def entry(number: int) -> Entry:
    work = Work(request_id=str(number), model="m", prompt_token_ids=[0], params=SamplingParams())
    return Entry(work, number, 0.0, ())


def test_tenants_that_would_be_lifted_anyway_are_forgotten() -> None:
    line: FairLine[Entry] = FairLine()
    for number in range(-2, 0):
        line.push("busy", 1.0, (number,), entry(number))
    for number in range(3 * MAX_IDLE):
        one = entry(number)
        line.push(f"t{number}", 1.0, (number,), one)
        assert line.first() is not None
        line.take(f"t{number}", one, 1.0)
        line.end(f"t{number}")
    assert line.num_accounts <= 2 * MAX_IDLE + 128
    line.take("busy", entry(-2), 100.0)
    for number in range(3 * MAX_IDLE, 3 * MAX_IDLE + 9000):
        one = entry(number)
        line.push(f"t{number}", 1.0, (number,), one)
        line.discard(f"t{number}", one)
    assert line.num_accounts < 200, "the least served that waits is above all of them"


def test_when_nothing_waits_or_runs_nobody_is_remembered() -> None:
    line: FairLine[Entry] = FairLine()
    one = entry(1)
    line.push("a", 1.0, (1,), one)
    line.take("a", one, 1000.0)
    assert line.num_accounts == 1
    line.end("a")
    assert (line.num_accounts, line.served("a")) == (0, 0.0)


def test_a_newcomer_is_lifted_to_who_left_last_when_nobody_waits() -> None:
    line: FairLine[Entry] = FairLine()
    one, two, three = entry(1), entry(2), entry(3)
    line.push("a", 1.0, (1,), one)
    line.take("a", one, 10.0)
    line.charge("a", 30.0)
    line.push("b", 1.0, (2,), two)
    assert line.served("b") == 40.0
    line.charge("a", 10.0)
    line.push("a", 1.0, (3,), three)
    assert line.first() is two, "a has run on meanwhile"


def test_the_order_holds_no_more_than_those_who_wait_however_often_it_changes() -> None:
    line: FairLine[Entry] = FairLine()
    first, second = entry(1), entry(2)
    line.push("a", 1.0, (1,), first)
    line.take("a", first, 0.0)
    line.push("a", 1.0, (2,), second)
    for _ in range(5000):
        line.charge("a", 1.0)
        assert line.first() is second
        line.charge("a", -1.0)
        assert line.first() is second
    assert len(line._order) <= 70


def test_a_line_does_not_keep_what_was_dropped() -> None:
    line: Line[Entry] = Line()
    entries = [entry(number) for number in range(1000)]
    for number, each in enumerate(entries):
        line.push((number,), each)
    for each in entries[:999]:
        assert line.discard(each)
    assert line.first() is entries[999]
    assert len(line._heap) <= 66
