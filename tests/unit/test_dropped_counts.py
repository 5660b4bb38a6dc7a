"""What is lost on the way is counted: frames that do not arrive whole, and totals that others keep."""

import asyncio
from typing import Any

from spillway.gateway.signals import Followed
from spillway_wire import names
from spillway_wire.codec import Malformed
from spillway_wire.links import Links
from spillway_wire.messages import Channel, Load, StepOutput
from spillway_wire.series import SeriesPage


def output(sequence: int) -> StepOutput:
    load = Load(running=0, waiting=0, free_blocks=1, waiting_prefill_tokens=0)
    return StepOutput(sequence=sequence, step=1, started_ns=0, ended_ns=1, load=load, deltas=())


def dropped(*received: Any) -> list[tuple[str, int]]:
    """What links tell of frames that came in this order."""

    async def run() -> list[tuple[str, int]]:
        links, told = Links("gateway-0.1.1"), []
        links.on_dropped = lambda reason, number: told.append((reason, number))
        for message in received:
            links._received(Channel.OUTPUT, message)
        links.abort("the test has ended")
        return told

    return asyncio.run(run())


def test_frames_in_order_are_all_there() -> None:
    assert dropped(output(1), output(2), output(3)) == []


def test_a_gap_says_how_many_are_missing() -> None:
    assert dropped(output(1), output(5)) == [("lost", 3)]


def test_a_frame_that_cannot_be_read_is_told_as_such() -> None:
    assert dropped(output(1), Malformed("no such tag")) == [("malformed", 1)]


def test_a_counter_follows_a_total_that_somebody_else_keeps() -> None:
    page = SeriesPage()
    counter = page.counters(names.DROPPED_LOGS).of("no_room")
    followed = Followed(counter)
    for total in (0, 3, 3, 2, 5):  # a total that is read between two writes may seem to go back
        followed.follow(total)
    assert page.values[counter._at] == 5
    assert page.num_lost == 0
    page.close()
