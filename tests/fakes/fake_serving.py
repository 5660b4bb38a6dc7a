"""A fake engine served in the test's own process, and connections on which anything can be said to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import uvloop

from spillway_engine.client.engine_client import EngineClient
from spillway_engine.process.flags import ProcessSettings
from spillway_engine.process.main import Surroundings, serve
from spillway_wire.address import parse_address
from spillway_wire.channel import Connection, close_all, connect
from spillway_wire.codec import FrameEncoder
from spillway_wire.messages import FromEngine, Goodbye, Hello, Welcome
from spillway_wire.page import Counter, PageWriter


def run(test: Callable[[], Awaitable[None]], loop_factory: Any = uvloop.new_event_loop) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(bounded())


class Events:
    """An operator log that can be waited for."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, object]]] = []
        self._changed = asyncio.Event()

    def __call__(self, event: str, **fields: object) -> None:
        self.seen.append((event, fields))
        self._changed.set()

    async def wait_for(self, event: str) -> dict[str, object]:
        while True:
            for name, fields in self.seen:
                if name == event:
                    return fields
            self._changed.clear()
            await self._changed.wait()


class Engine:
    """A served fake engine in this process."""

    def __init__(self, core: Any, page: PageWriter, log: Events, address: str, task: "asyncio.Task[int]") -> None:
        self.core, self.page, self.log, self.address, self.task = core, page, log, address, task

    def count(self, counter: Counter) -> int:
        return self.page.counters[counter]


@asynccontextmanager
async def served(
    fake: ModuleType,
    folder: Path,
    *,
    chaos: bool = False,
    page: PageWriter | None = None,
    address: str | None = None,
    tokens_per_step: int = 1,
    core: Any = None,
    **around: Any,
) -> AsyncIterator[Engine]:
    core = core or fake.FakeCore(tokens_per_step=tokens_per_step)
    log = Events()
    writer = page or PageWriter()
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    process = ProcessSettings(
        address=parse_address(address or f"unix:{folder / 'engine.sock'}"),
        engine_id="engine-0",
        incarnation=3,
        page=None,
        chaos=chaos,
        parent_pid=None,
    )
    given: dict[str, Any] = {"signals": (), "tick_s": 0.02} | around
    surroundings = Surroundings(**given)
    task = asyncio.create_task(
        serve(fake.FakeLoaded(core), process, writer, log, surroundings=surroundings, on_ready=ready.set_result)  # type: ignore[arg-type]
    )
    either: list[asyncio.Future[Any]] = [ready, task]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield Engine(core, writer, log, ready.result(), task)
    finally:
        if not task.done():
            stopper = await EngineClient.connect(ready.result(), client_id="stopper")
            await stopper.stop()
            await stopper.close()
        await task


class Raw:
    """One connection on which anything can be said, and from which everything is kept."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        self.reason: str | None = None
        self._changed = asyncio.Event()
        self.wire: Connection[FromEngine]

    @classmethod
    async def open(cls, engine: Engine, hello: Hello | None = None) -> "Raw":
        raw = cls()

        def on_message(_: object, message: object) -> None:
            raw.received.append(message)
            raw._changed.set()

        def on_closed(_: object, reason: str) -> None:
            raw.reason = reason
            raw._changed.set()

        raw.wire = await connect(
            parse_address(engine.address),
            lambda: Connection(FromEngine, FrameEncoder(), on_message=on_message, on_closed=on_closed),
        )
        if hello is not None:
            raw.wire.send(hello)
            await raw.first(Welcome, Goodbye)
        return raw

    async def first(self, *types: type) -> Any:
        while True:
            for message in self.received:
                if isinstance(message, types):
                    return message
            assert self.reason is None, f"closed while waiting for {types}: {self.reason}"
            self._changed.clear()
            await self._changed.wait()

    async def end(self) -> str:
        await self.wire.closed
        assert self.reason is not None
        return self.reason

    def pause(self) -> None:
        assert self.wire._transport is not None
        self.wire._transport.pause_reading()

    async def close(self) -> None:
        await close_all([self.wire], "the test is over", 0.0)
