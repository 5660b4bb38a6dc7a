"""Times to come back at: spread, kept, claimed by those who come."""

from itertools import cycle, pairwise

import pytest

from spillway.admission.shedding.bookings import BOUNDS_S, EARLY_AMONG_SEVERAL_S, LATE_S, LEAST_SHARE, Bookings


def book(bookings: Bookings, now: float, *, key: str = "t", capacity: float = 10.0, fresh: float = 0.0) -> float:
    return bookings.book(key, now, capacity_per_s=capacity, fresh_per_s=fresh, wait_s=0.0)


def test_returns_are_spread_at_the_rate_that_can_be_taken() -> None:
    bookings = Bookings(lambda: 0.0)
    told = [book(bookings, 0.0, fresh=5.0) for _ in range(100)]
    assert told[0] == BOUNDS_S[0]
    assert all(after - before == pytest.approx(1 / 5.0) for before, after in pairwise(told))


def test_fresh_traffic_never_takes_all_of_it() -> None:
    bookings = Bookings(lambda: 0.0)
    told = [book(bookings, 0.0, fresh=100.0) for _ in range(10)]
    assert all(after - before == pytest.approx(1 / (10.0 * LEAST_SHARE)) for before, after in pairwise(told))


def test_jitter_is_upwards_only_and_the_bounds_hold() -> None:
    low, high = Bookings(lambda: 0.0), Bookings(lambda: 0.999)
    for _ in range(2000):
        early, late = book(low, 0.0), book(high, 0.0)
        assert BOUNDS_S[0] <= early <= BOUNDS_S[1]
        assert BOUNDS_S[0] <= late <= BOUNDS_S[1]
        if late < 100.0:
            assert late >= early


def test_who_finds_no_room_in_all_that_time_comes_at_its_end_and_is_not_blamed() -> None:
    draws = cycle([0.1, 0.5, 0.9])
    bookings = Bookings(lambda: next(draws))
    told = [book(bookings, 0.0) for _ in range(5000)]
    late = told[2000:]
    assert all(0.9 * BOUNDS_S[1] <= each <= BOUNDS_S[1] for each in late)
    assert len(set(late)) == 3
    assert bookings.num_open == bookings.num_booked == 5000
    assert all(bookings.claim("t", BOUNDS_S[1]) for _ in range(3000))


def test_without_a_measured_rate_there_is_an_answer_too() -> None:
    bookings = Bookings(lambda: 0.0)
    assert bookings.book("t", 0.0, capacity_per_s=0.0, fresh_per_s=0.0, wait_s=3.0) == 3.0
    assert bookings.num_open == 0


def test_a_booking_is_claimed_once_by_its_own_and_not_too_early() -> None:
    bookings = Bookings(lambda: 0.0)
    told = book(bookings, 100.0)
    assert not bookings.claim("t", 100.0 + told - 0.5)
    assert not bookings.claim("other", 100.0 + told)
    assert bookings.claim("t", 100.0 + told)
    assert not bookings.claim("t", 100.0 + told)
    assert (bookings.num_booked, bookings.num_claimed, bookings.num_open) == (1, 1, 0)


def test_bookings_lapse() -> None:
    bookings = Bookings(lambda: 0.0)
    told = book(bookings, 0.0)
    assert not bookings.claim("t", told + LATE_S + 0.1)
    assert (bookings.num_lapsed, bookings.num_open) == (1, 0)


def test_room_is_reserved_as_far_as_returns_really_come() -> None:
    obeyed, ignored = Bookings(lambda: 0.0), Bookings(lambda: 0.0)
    for bookings in (obeyed, ignored):
        for _ in range(200):
            book(bookings, 0.0, fresh=100.0)  # 2.5 per second
    now = 0.0
    for number in range(300):
        now = number / 10
        obeyed.claim("t", now)
        ignored.advance(now)
    assert obeyed.reserved(now, 10.0) == pytest.approx(0.25, abs=0.08)
    assert ignored.reserved(now, 10.0) == 0.0


def test_claims_and_lapses_of_one_key_never_count_twice() -> None:
    bookings = Bookings(lambda: 0.0)
    for _ in range(30):
        book(bookings, 0.0, capacity=1.0)
    for number in range(60):
        bookings.claim("t", number * 2.0)
    bookings.advance(1000.0)
    assert bookings.num_claimed + bookings.num_lapsed == bookings.num_booked == 30
    assert bookings.num_open == 0


def test_among_several_gateways_a_return_may_stand_for_one_that_is_still_to_come() -> None:
    bookings = Bookings(lambda: 0.0)
    bookings.early_s = EARLY_AMONG_SEVERAL_S
    told = book(bookings, 0.0)
    assert told == 1.0
    assert bookings.claim("t", 0.5)
    assert not bookings.claim("t", told)
