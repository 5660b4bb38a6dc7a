"""The book of what is kept out: whoever has heard the same keeps the same, in whatever order and however often."""

from hypothesis import given
from hypothesis import strategies as st

from spillway_wire.plane import Quarantined
from spillway_wire.quarantine import QuarantineBook

ENTRIES = st.builds(
    Quarantined,
    fingerprint=st.integers(0, 5).map(lambda number: bytes([number])),
    until_ns=st.integers(0, 20),
    crashes=st.integers(1, 4),
)
MOST = 3


def book(entries: list[Quarantined], most: int = MOST) -> QuarantineBook:
    made = QuarantineBook(most)
    for entry in entries:
        made.add(entry)
    return made


@given(st.lists(ENTRIES, max_size=12), st.data())
def test_order_and_repetition_make_no_difference(said: list[Quarantined], data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(said), max_size=12)) if said else []
    shuffled = data.draw(st.permutations(said + again))
    assert book(shuffled).entries() == book(said).entries()


@given(st.lists(ENTRIES, max_size=12))
def test_it_keeps_the_longest_word_on_each_and_of_too_many_those_that_end_last(said: list[Quarantined]) -> None:
    longest: dict[bytes, int] = {}
    for entry in said:
        longest[entry.fingerprint] = max(entry.until_ns, longest.get(entry.fingerprint, 0))
    kept = {entry.fingerprint: entry.until_ns for entry in book(said).entries()}
    assert sorted(kept.values()) == sorted(longest.values())[-MOST:]
    assert all(longest[fingerprint] == until_ns for fingerprint, until_ns in kept.items())


@given(st.lists(ENTRIES, max_size=12), st.integers(0, 21))
def test_what_is_over_is_dropped_and_nothing_before(said: list[Quarantined], now_ns: int) -> None:
    kept = book(said, most=6)
    before = kept.entries()
    kept.expire(now_ns)
    assert kept.entries() == tuple(entry for entry in before if entry.until_ns > now_ns)
    assert all(kept.get(entry.fingerprint) is (entry if entry.until_ns > now_ns else None) for entry in before)


@given(st.lists(ENTRIES, max_size=12), ENTRIES)
def test_news_is_what_changes_the_book(said: list[Quarantined], last: Quarantined) -> None:
    heard = book(said)
    before = heard.entries()
    is_news = heard.add(last)
    assert is_news is (heard.entries() != before)
    assert heard.add(last) is False
