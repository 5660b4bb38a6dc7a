"""Patience, interruption, and the one place where arrivals are counted."""

import asyncio

import pytest

from spillway.gateway.arrival import Arrival
from spillway.gateway.interrupt import Interruptible
from spillway.gateway.patience import Patience, patience
from spillway.gateway.problems import Problem
from spillway_wire.outcomes import Outcome
from spillway_wire.tally import CLIENTS_DISCONNECTED, COUNTERS, TallyWriter

GONE = Problem(Outcome.CLIENT_GONE, "gone")
LATE = Problem(Outcome.EXPIRED, "late")


# ---- patience ----


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], Patience(600.0)),
        ([(b"x-request-timeout", b"5")], Patience(5.0)),
        ([(b"x-request-timeout", b"0.25")], Patience(0.25)),
        ([(b"x-request-timeout", b"9999")], Patience(600.0)),
        ([(b"x-stainless-read-timeout", b"30.0")], Patience(600.0, 30.0)),
        ([(b"x-stainless-timeout", b"20"), (b"x-request-timeout", b"40")], Patience(40.0, 20.0)),
    ],
)
def test_the_shortest_patience_counts(headers: list[tuple[bytes, bytes]], expected: Patience) -> None:
    assert patience(headers, at_most_s=600.0) == expected


@pytest.mark.parametrize("value", [b"0", b"-1", b"nan", b"inf", b"soon", b"", b"\xff", b"1e999"])
@pytest.mark.parametrize("name", [b"x-request-timeout", b"x-stainless-read-timeout"])
def test_a_patience_that_is_no_time_is_refused_by_the_headers_name(name: bytes, value: bytes) -> None:
    with pytest.raises(Problem) as caught:
        patience([(name, value)], at_most_s=600.0)
    assert (caught.value.outcome, caught.value.param) == (Outcome.INVALID, name.decode())


# ---- interruption ----


def test_an_interruption_ends_what_is_waited_for_with_its_reason_and_leaves_the_task_as_it_was() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        work = Interruptible()

        async def wait() -> None:
            async with work:
                loop.call_soon(work.interrupt, GONE)
                loop.call_soon(work.interrupt, LATE)
                await loop.create_future()

        with pytest.raises(Problem) as caught:
            await wait()
        assert caught.value is GONE
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)  # a cancellation that was left over would strike here

    asyncio.run(main())


def test_nothing_can_be_interrupted_that_is_over_or_has_not_begun() -> None:
    async def main() -> None:
        work = Interruptible()
        work.interrupt(GONE)
        async with work:
            await asyncio.sleep(0)
        work.interrupt(LATE)
        await asyncio.sleep(0)
        assert work.problem is None

    asyncio.run(main())


def test_a_cancellation_by_others_stays_one() -> None:
    async def body(work: Interruptible) -> None:
        async with work:
            await asyncio.get_running_loop().create_future()

    async def main(*, interrupted_too: bool) -> None:
        work = Interruptible()
        task = asyncio.create_task(body(work))
        await asyncio.sleep(0)
        task.cancel()
        if interrupted_too:
            work.interrupt(GONE)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main(interrupted_too=False))
    asyncio.run(main(interrupted_too=True))


# ---- arrivals ----


def counted(tally: TallyWriter, outcome: Outcome) -> int:
    return tally._counts[COUNTERS.index(f"outcome_{outcome.value}")]


def test_the_first_outcome_that_is_settled_counts() -> None:
    tally = TallyWriter()
    with Arrival(tally) as arrival:
        assert tally.open_requests == 1
        arrival.settle(Outcome.CLIENT_GONE)
        arrival.settle(Outcome.COMPLETED)
    assert tally.open_requests == 0
    assert counted(tally, Outcome.CLIENT_GONE) == 1
    assert tally._counts[CLIENTS_DISCONNECTED] == 1


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(RuntimeError("x"), Outcome.INTERNAL), (asyncio.CancelledError(), Outcome.GATEWAY_FAILED)],
)
def test_an_arrival_that_was_never_settled_has_an_outcome_all_the_same(error: BaseException, outcome: Outcome) -> None:
    tally = TallyWriter()
    with pytest.raises(type(error)), Arrival(tally):
        raise error
    assert tally.open_requests == 0
    assert counted(tally, outcome) == 1
