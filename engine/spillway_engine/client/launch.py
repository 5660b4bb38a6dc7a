"""Starts an engine process and never leaves one behind: it ends with its owner, at the latest when that is killed."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from spillway_engine.errors import EngineDeadError
from spillway_engine.process.flags import to_flags
from spillway_engine.settings import EngineSettings
from spillway_wire.address import MAX_UNIX_PATH_BYTES

COMMAND = (sys.executable, "-m", "spillway_engine")
_SOCKET_NAME = "engine.sock"
_NUM_LAST_LINES = 40


def private_folder() -> Path:
    """Make a folder for sockets, for this user alone (0700), with a path short enough for them."""
    parent: str | None = tempfile.gettempdir()
    if len(os.fsencode(f"{parent}/spillway-xxxxxxxx/{_SOCKET_NAME}")) > MAX_UNIX_PATH_BYTES:
        parent = "/tmp"  # noqa: S108 - mkdtemp makes a name of its own in it
    return Path(tempfile.mkdtemp(prefix="spillway-", dir=parent))


class EngineProcess:
    """A child process that serves one engine. Make it with `start`, end it with `close`."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path, address: str) -> None:
        self._process = process
        self._folder = folder
        self.address = address
        self.last_lines: deque[str] = deque(maxlen=_NUM_LAST_LINES)
        """The end of what it wrote on standard error."""
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    async def start(
        cls,
        settings: EngineSettings,
        *,
        flags: Sequence[str] = (),
        command: Sequence[str] = COMMAND,
        ready_within_s: float = 600.0,
    ) -> "EngineProcess":
        """Start an engine and return when it can take work.

        `flags` are further ones, such as `--chaos`. Raises `EngineDeadError` with its last lines if it does not
        become ready in time.
        """
        folder = private_folder()
        address = f"unix:{folder / _SOCKET_NAME}"
        arguments = [*to_flags(settings), "--address", address, "--parent-pid", str(os.getpid()), *flags]
        process = await asyncio.create_subprocess_exec(
            *command,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl-C reaches its owner alone
        )
        engine = cls(process, folder, address)
        try:
            async with asyncio.timeout(ready_within_s):
                await engine._ready()
        except BaseException as error:
            await engine.kill()
            if isinstance(error, TimeoutError):
                raise EngineDeadError(f"the engine was not ready within {ready_within_s:g} s") from None
            raise
        return engine

    async def _ready(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - we asked for a pipe
        line = await self._process.stdout.readline()
        if not line.startswith(b"ready "):
            status = await self._process.wait()
            await self._listener
            raise EngineDeadError("\n".join([f"the engine ended at start, {describe(status)}", *self.last_lines]))

    async def _listen(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - we asked for a pipe
        with contextlib.suppress(ValueError):  # a line longer than the reader's buffer: the rest is of no use
            async for line in self._process.stderr:
                self.last_lines.append(line.decode(errors="replace").rstrip())
        while await self._process.stderr.read(65536):  # a full pipe would stop the process
            pass

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._process.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait for its end, however it comes, and clean up after it. Idempotent."""
        status = await self._process.wait()
        await self._listener
        if self._process.stdout is not None:
            await self._process.stdout.read()
        shutil.rmtree(self._folder, ignore_errors=True)
        return status

    async def kill(self) -> int:
        """Kill it and wait for its end. Idempotent."""
        self.send_signal(signal.SIGKILL)
        return await self.wait()

    async def close(self, grace_s: float = 10.0) -> int:
        """Let it drain, kill it if that takes longer than `grace_s`. Idempotent."""
        self.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                return await self.wait()
        except TimeoutError:
            return await self.kill()

    def __repr__(self) -> str:
        return f"<EngineProcess pid={self.pid} status={self.status} {self.address}>"


def describe(status: int) -> str:
    """Say an exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
