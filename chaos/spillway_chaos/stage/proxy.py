"""A TCP proxy whose link can be poisoned while it runs (see `toxics`). It runs on a loop and thread of its own.

Each direction of a connection is read into a short line and written from it, so that latency delays data without
holding back what comes behind it, as a long cable would.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from spillway_chaos.stage.toxics import LimitData, ResetPeer, SlowClose, Stream, Timeout, Toxic, pieces

T = TypeVar("T")
_CHUNK: Final = 65_536
_LINE: Final = 256
"""Chunks that a direction holds before it reads no more."""
_WITHIN_S: Final = 10.0
_NO_LINGER: Final = struct.pack("ii", 1, 0)
"""With this, closing is a reset."""


@dataclass(slots=True)
class Counts:
    """What a link has seen."""

    connections: int = 0
    refused: int = 0
    """Connections that came while it was down, as far as it saw them."""
    poisoned_bytes: int = 0
    """Passed, or swallowed, while a toxic was on that direction."""
    cut: int = 0
    """Connections that a toxic, or going down, ended."""


@dataclass(slots=True)
class _Poison:
    toxic: Toxic
    stream: Stream
    toxicity: float
    chosen: dict[int, bool] = field(default_factory=dict)
    """By connection: whether it is hit."""


class Link:
    """A proxy from a free port of loopback to one address; what it does can be changed from any thread."""

    def __init__(self, upstream: tuple[str, int] | Path, *, seed: int = 0) -> None:
        self._upstream = upstream
        self._randomness = random.Random(seed)
        self._poisons: list[_Poison] = []
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.counts = Counts()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._listen())

    # ---- from any thread ----

    def add(self, toxic: Toxic, *, stream: Stream = "downstream", toxicity: float = 1.0) -> None:
        """Poison one direction, for a share of all connections."""
        self._do(self._change(lambda: self._poisons.append(_Poison(toxic, stream, toxicity))))

    def cure(self) -> None:
        """Remove every toxic."""
        self._do(self._change(self._poisons.clear))

    def down(self) -> None:
        """Close the port and every connection. Idempotent."""
        self._do(self._down())

    def up(self) -> None:
        """Open the same port again. Idempotent."""
        self._do(self._listen())

    def close(self) -> None:
        """End it. Idempotent."""
        if self._loop.is_closed():
            return
        self._do(self._down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WITHIN_S)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WITHIN_S)

    # ---- on the loop ----

    async def _change(self, change: Callable[[], object]) -> None:
        change()
        self._changed.set()
        self._changed = asyncio.Event()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _down(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self.counts.cut += len(self._tasks)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.connections += 1
        task = self._loop.create_task(self._serve(self.counts.connections, reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            behind, there = await self._open()
            with contextlib.closing(there):
                pumps = [
                    asyncio.ensure_future(self._pump(number, "upstream", reader, there)),
                    asyncio.ensure_future(self._pump(number, "downstream", behind, writer)),
                    asyncio.ensure_future(self._watch(number, writer)),
                ]
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                    await self._close_slowly(number)
                finally:
                    for pump in pumps:
                        pump.cancel()
                    await asyncio.gather(*pumps, return_exceptions=True)

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._upstream, Path):
            return await asyncio.open_unix_connection(str(self._upstream))
        return await asyncio.open_connection(*self._upstream)

    def _toxics(self, number: int, stream: Stream) -> list[Toxic]:
        """Return what hits this direction of a connection now."""
        found = []
        for poison in self._poisons:
            if number not in poison.chosen:
                poison.chosen[number] = self._randomness.random() < poison.toxicity
            if poison.stream == stream and poison.chosen[number]:
                found.append(poison.toxic)
        return found

    async def _pump(
        self, number: int, stream: Stream, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_LINE)
        reading = asyncio.ensure_future(self._read(source, line))
        passed = 0
        try:
            while True:
                since, data = await line.get()
                toxics = self._toxics(number, stream)
                while any(isinstance(toxic, Timeout) for toxic in toxics):  # held until it is cured, or cut
                    self.counts.poisoned_bytes += len(data)
                    await self._changed.wait()
                    toxics = self._toxics(number, stream)
                if not data:
                    return
                limit = min((toxic.bytes for toxic in toxics if isinstance(toxic, LimitData)), default=None)
                if limit is not None:
                    data = data[: max(0, limit - passed)]
                self.counts.poisoned_bytes += len(data) if toxics else 0
                for piece in pieces(toxics, data, time.monotonic() - since, self._randomness):
                    if piece.delay_s:
                        await asyncio.sleep(piece.delay_s)
                    sink.write(piece.data)
                    await sink.drain()
                passed += len(data)
                if limit is not None and passed >= limit:
                    self.counts.cut += 1
                    return
        except OSError:
            return
        finally:
            reading.cancel()

    async def _read(self, source: asyncio.StreamReader, line: asyncio.Queue[tuple[float, bytes]]) -> None:
        data = b"-"
        while data:
            try:
                data = await source.read(_CHUNK)
            except OSError:
                data = b""
            await line.put((time.monotonic(), data))

    async def _watch(self, number: int, writer: asyncio.StreamWriter) -> None:
        """End the connection if a toxic says so."""
        while True:
            toxics = [*self._toxics(number, "upstream"), *self._toxics(number, "downstream")]
            resets = [toxic.timeout for toxic in toxics if isinstance(toxic, ResetPeer)]
            closes = [toxic.timeout for toxic in toxics if isinstance(toxic, Timeout) and toxic.timeout]
            changed = self._changed
            if not resets and not closes:
                await changed.wait()
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), min((*resets, *closes)) / 1e3)
                continue
            self.counts.cut += 1
            if resets:
                sock: socket.socket = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                writer.transport.abort()
            return

    async def _close_slowly(self, number: int) -> None:
        toxics = [*self._toxics(number, "upstream"), *self._toxics(number, "downstream")]
        delays = [toxic.delay for toxic in toxics if isinstance(toxic, SlowClose)]
        if delays:
            await asyncio.sleep(max(delays) / 1e3)
