"""A TCP proxy before a Redis on a unix socket: its answers come as late as the test says, or it takes nobody."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path


class Proxy:
    """Set `delay_s` at any time."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0
        self.delay_s = 0.0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}"

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Close the port and all connections; `listen` opens the same port again."""
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server = None

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            behind, there = await asyncio.open_unix_connection(str(self._socket))
            with contextlib.closing(there):
                pumps = [
                    asyncio.ensure_future(self._pump(reader, there, is_answer=False)),
                    asyncio.ensure_future(self._pump(behind, writer, is_answer=True)),
                ]
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in pumps:
                        pump.cancel()
                    await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool) -> None:
        while data := await source.read(65_536):
            if is_answer and self.delay_s:
                await asyncio.sleep(self.delay_s)
            sink.write(data)
            await sink.drain()


@contextlib.asynccontextmanager
async def proxying(socket: Path) -> AsyncIterator[Proxy]:
    proxy = Proxy(socket)
    await proxy.listen()
    try:
        yield proxy
    finally:
        if proxy._server is not None:
            await proxy.refuse()
