"""A real pool over real sockets: its supervisor's word as a test says it, and engines served in the test's process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from spillway.pool.contract import Ticket, Work
from spillway.pool.engine_pool import EnginePool
from spillway.settings import LimitSettings
from spillway_wire.plane import EngineDied, EngineStatus, ExitCause, Member, Membership, ServedModel
from spillway_wire.sampling import SamplingParams


class Plane:
    """A supervisor's word, as a test says it."""

    def __init__(self, pool: EnginePool) -> None:
        self.pool = pool
        self.version = 0
        self.members: dict[str, Member] = {}

    def set(self, engine_id: str, incarnation: int, address: str, status: EngineStatus = EngineStatus.READY) -> None:
        self.members[engine_id] = Member(
            engine_id=engine_id, incarnation=incarnation, model="fake", address=address, status=status
        )
        self.publish()

    def publish(self) -> None:
        self.version += 1
        models = (ServedModel(name="fake", path=""),)
        self.pool.set_membership(Membership(version=self.version, members=tuple(self.members.values()), models=models))

    def died(self, engine_id: str, incarnation: int, aboard: tuple[tuple[str, str, int, int], ...] = ()) -> None:
        self.pool.engine_died(
            EngineDied(
                engine_id=engine_id,
                incarnation=incarnation,
                cause=ExitCause.SIGNAL,
                message="killed",
                aboard=aboard,
                detected_ns=0,
            )
        )
        self.left(engine_id)

    def left(self, engine_id: str) -> None:
        self.members.pop(engine_id, None)
        self.publish()


class Caller:
    """A pool with the plane that it hears, and what a client does with it."""

    def __init__(self, pool: EnginePool) -> None:
        self.pool, self.plane = pool, Plane(pool)

    def submit(self, name: str, prompt: list[int], max_tokens: int | None, num_choices: int = 1) -> Ticket:
        params = SamplingParams(max_tokens=max_tokens)
        work = Work(request_id=name, model="fake", prompt_token_ids=prompt, params=params, num_choices=num_choices)
        return self.pool.submit(work)

    async def read(self, name: str, prompt: list[int], max_tokens: int, num_choices: int = 1) -> dict[int, list[int]]:
        """Submit, and read to the end: the tokens of each choice."""
        return await rest(self.submit(name, prompt, max_tokens, num_choices))


async def rest(ticket: Ticket) -> dict[int, list[int]]:
    """Read a ticket to its end: the tokens that come, of each choice."""
    tokens: dict[int, list[int]] = {}
    async for piece in ticket:
        tokens.setdefault(piece.choice, []).extend(piece.token_ids)
    return tokens


class House:
    """Makes pools and engines for one test."""

    def __init__(self, fake_engine: ModuleType, serving: ModuleType, folder: Path) -> None:
        self._fake_engine, self._serving, self.folder = fake_engine, serving, folder
        self.run, self.expected, self.rest = serving.run, fake_engine.expected, rest

    def engine(self, folder: str = "", **options: Any) -> AbstractAsyncContextManager[Any]:
        """Serve an engine; each of those that live at the same time needs a folder of its own."""
        place = self.folder / folder
        place.mkdir(exist_ok=True)
        served: AbstractAsyncContextManager[Any] = self._serving.served(self._fake_engine, place, **options)
        return served

    @asynccontextmanager
    async def pool(self, **options: Any) -> AsyncIterator[Caller]:
        """A pool that has to be empty in the end, with nothing of it left on the loop."""
        before = asyncio.all_tasks()
        pool = EnginePool("gw", limits=LimitSettings(), **options)
        try:
            yield Caller(pool)
            pool.check_integrity()
            assert pool.num_open == 0
        finally:
            await pool.close()
            await pool.close()
        assert asyncio.all_tasks() <= before

    @asynccontextmanager
    async def on_one_engine(self, *, chaos: bool = False, **options: Any) -> AsyncIterator[tuple[Any, Caller]]:
        """An engine, and a pool that has been told of it as incarnation 3 of `engine-0`."""
        async with self.engine(chaos=chaos) as engine, self.pool(**options) as caller:
            caller.plane.set("engine-0", 3, engine.address)
            yield engine, caller
