"""One child process: started in a session of its own, its lines read as they come, its end seen at once.

It must be started from the main thread: the parent-death signal that children ask for fires when the *thread* that
started them ends. The end is told by the kernel through a file descriptor (`pidfd`); where there is none, by a thread
that waits. What the child has written by then is read before its end is told. A pipe that a grandchild keeps open
does not hold that up.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import IO

_CHUNK = 64 * 1024
_MAX_LINE = 64 * 1024
_NUM_LAST_LINES = 40


class Stream(Enum):
    """Where a line was written to."""

    OUTPUT = "stdout"
    ERRORS = "stderr"


class ChildProcess:
    """A running child, until `on_exit` is called with its status (a signal's number, negative), once."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        on_line: Callable[[Stream, str], None],
        on_exit: Callable[[int], None],
        pass_fds: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start `command`; `environment` is added to ours. Raises OSError if it cannot be started."""
        self._on_line, self._on_exit = on_line, on_exit
        self.last_lines: deque[str] = deque(maxlen=_NUM_LAST_LINES)
        """The end of what it wrote on standard error."""
        self._loop = asyncio.get_running_loop()
        self._process = subprocess.Popen(  # noqa: S603 - the command is ours
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl-C reaches the supervisor alone
            pass_fds=pass_fds,
            env=None if environment is None else {**os.environ, **environment},
        )
        self.pid = self._process.pid
        self._pipes: dict[Stream, tuple[IO[bytes], bytearray]] = {}
        for stream, pipe in ((Stream.OUTPUT, self._process.stdout), (Stream.ERRORS, self._process.stderr)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                self._pipes[stream] = (pipe, bytearray())
                self._loop.add_reader(pipe.fileno(), self._readable, stream)
        self._pidfd: int | None = None
        self._watch()

    @property
    def status(self) -> int | None:
        """How it ended, or None while it runs."""
        return self._process.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    # ---- its end ----

    def _watch(self) -> None:
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # no such thing here, or no descriptor left
            threading.Thread(target=self._wait, name=f"wait-{self.pid}", daemon=True).start()
            return
        self._loop.add_reader(self._pidfd, self._ended)

    def _wait(self) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know
            self._loop.call_soon_threadsafe(self._ended)

    def _ended(self) -> None:
        status = self._process.poll()
        if status is None:
            return
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        for stream in list(self._pipes):
            while self._readable(stream):
                pass
            self._close(stream)
        self._on_exit(status)

    # ---- its lines ----

    def _readable(self, stream: Stream) -> bool:
        """Read once; say whether there was anything."""
        if stream not in self._pipes:
            return False
        pipe, pending = self._pipes[stream]
        try:
            data = os.read(pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._close(stream)
            return False
        pending += data
        *lines, rest = pending.split(b"\n")
        pending[:] = rest[-_MAX_LINE:]
        for line in lines:
            self._tell(stream, line)
        return True

    def _close(self, stream: Stream) -> None:
        if stream in self._pipes:
            pipe, pending = self._pipes.pop(stream)
            self._loop.remove_reader(pipe.fileno())
            pipe.close()
            if pending:
                self._tell(stream, pending)

    def _tell(self, stream: Stream, line: bytes | bytearray) -> None:
        text = line.decode("utf-8", errors="replace").rstrip("\r")
        if stream is Stream.ERRORS:
            self.last_lines.append(text)
        self._on_line(stream, text)
