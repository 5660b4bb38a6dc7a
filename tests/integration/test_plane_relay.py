"""The supervisor passes on what one gateway keeps out, to the others and those that come later, and what ops says."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from spillway.child import PlaneLink
from spillway.runtime import RuntimeFolder
from spillway.supervisor.plane_server import PlaneServer
from spillway_wire.plane import (
    BrownoutFloor,
    ChildBeat,
    ChildHello,
    FromSupervisor,
    Order,
    Phase,
    PhaseKind,
    Quarantined,
    Role,
    StatusRequest,
)

GREETING = Phase(kind=PhaseKind.SERVING)
LAST = Phase(kind=PhaseKind.UNREADY)
"""Said to everybody when a test wants to know what came before."""
WORD = Quarantined(fingerprint=b"pill", until_ns=1000, crashes=4)
OTHER = Quarantined(fingerprint=b"another", until_ns=2000, crashes=4)


class Run:
    """A child's run."""

    def __init__(self, beats: "asyncio.Queue[ChildBeat]") -> None:
        self.beat = beats.put_nowait

    def ready(self) -> None:
        """It need not be."""


@dataclass
class Plane:
    """The supervisor's end, and a clock that goes when told."""

    runtime: RuntimeFolder
    now_ns: int = 0
    beats: "asyncio.Queue[ChildBeat]" = field(default_factory=asyncio.Queue)
    """What came of them: what the same child said before has come, too."""
    server: PlaneServer = field(init=False)

    def __post_init__(self) -> None:
        def ask(question: StatusRequest | Order, answer: object) -> None:
            raise AssertionError(question, answer)

        def greet() -> list[msgspec.Struct]:
            return [GREETING]

        def find(_: ChildHello) -> Run:
            return Run(self.beats)

        self.server = PlaneServer(
            find=find, greet=greet, ask=ask, log=lambda *_, **__: None, clock_ns=lambda: self.now_ns
        )

    async def child(self, child_id: str, role: Role = Role.GATEWAY) -> "Kid":
        """Connect, and wait for the greeting's end."""
        heard: asyncio.Queue[FromSupervisor] = asyncio.Queue()
        link = await PlaneLink.open(
            self.runtime,
            child_id=child_id,
            incarnation=1,
            role=role,
            on_message=heard.put_nowait,
            on_lost=lambda _: None,
        )
        kid = Kid(link, heard)
        kid.before = await kid.until(GREETING)
        return kid


@dataclass
class Kid:
    """A child of the supervisor."""

    link: PlaneLink
    heard: "asyncio.Queue[FromSupervisor]"
    before: list[FromSupervisor] = field(default_factory=list)
    """What it heard before the greeting."""

    async def until(self, last: FromSupervisor) -> list[FromSupervisor]:
        """Return what comes before `last`."""
        came = []
        while (message := await self.heard.get()) != last:
            came.append(message)
        return came


@asynccontextmanager
async def plane() -> AsyncIterator[Plane]:
    folder = Path(tempfile.mkdtemp(prefix="pl-"))  # pytest's own are too long for a socket's path
    made = Plane(RuntimeFolder(folder))
    await made.server.open(made.runtime)
    try:
        async with asyncio.timeout(20):
            yield made
    finally:
        await made.server.close()
        shutil.rmtree(folder)


def test_every_other_gateway_hears_it_once_and_nobody_else() -> None:
    async def test() -> None:
        async with plane() as made:
            finder, other, third = [await made.child(f"gateway-{number}") for number in range(3)]
            ops = await made.child("ops", Role.OPS)
            finder.link.send(WORD)
            assert await other.heard.get() == await third.heard.get() == WORD
            other.link.send(WORD)  # it found out for itself before it heard: no news to anybody
            other.link.send(OTHER)
            assert await finder.heard.get() == await third.heard.get() == OTHER
            made.server.publish(LAST)
            assert [await each.until(LAST) for each in (finder, other, third, ops)] == [[], [], [], []]

    asyncio.run(test())


def test_a_brownout_floor_goes_from_ops_to_all_gateways_and_from_nobody_else() -> None:
    async def test() -> None:
        async with plane() as made:
            gateways = [await made.child(f"gateway-{number}") for number in range(2)]
            ops = await made.child("ops", Role.OPS)
            floor = BrownoutFloor(steps=1, until_ns=2**62)
            ops.link.send(floor)
            assert [await gateway.heard.get() for gateway in gateways] == [floor, floor]
            gateways[0].link.send(floor)
            gateways[0].link.send(ChildBeat(at_ns=1))
            assert await made.beats.get() == ChildBeat(at_ns=1)
            made.server.publish(LAST)
            assert [await each.until(LAST) for each in (*gateways, ops)] == [[], [], []]

    asyncio.run(test())


def test_ops_cannot_keep_anything_out() -> None:
    async def test() -> None:
        async with plane() as made:
            gateway, ops = await made.child("gateway-0"), await made.child("ops", Role.OPS)
            ops.link.send(WORD)
            ops.link.send(ChildBeat(at_ns=1))
            assert await made.beats.get() == ChildBeat(at_ns=1)
            made.server.publish(LAST)
            assert await gateway.until(LAST) == []
            assert (await made.child("gateway-1")).before == []

    asyncio.run(test())


def test_who_comes_later_hears_it_before_all_else_while_it_lasts() -> None:
    async def test() -> None:
        async with plane() as made:
            finder, other = await made.child("gateway-0"), await made.child("gateway-1")
            finder.link.send(OTHER)
            finder.link.send(WORD)
            await other.heard.get()
            await other.heard.get()
            await finder.link.close()  # it dies: its successor has to know what it knew
            assert (await made.child("gateway-0")).before == [WORD, OTHER]
            assert (await made.child("ops", Role.OPS)).before == []
            made.now_ns = WORD.until_ns
            assert (await made.child("gateway-2")).before == [OTHER]
            made.now_ns = OTHER.until_ns
            assert (await made.child("gateway-3")).before == []

    asyncio.run(test())
