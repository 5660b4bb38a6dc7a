"""A redis-server of the test's own, on a socket of its own, to be killed, stopped and started again."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from spillway.supervisor.redis import command, find_server


class RedisServer:
    """Its process may be gone at times; its address stays."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopped = False
        self.client: Any = redis.Redis(unix_socket_path=str(self.socket), socket_timeout=10)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Return when it answers."""
        assert self._process is None
        server = find_server()
        assert server is not None, "no redis-server on this machine"
        self.socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(command(server, self.socket, os.getpid()), stdout=subprocess.DEVNULL)
        while True:
            with contextlib.suppress(redis.ConnectionError):
                self.client.ping()
                return
            assert self._process.poll() is None
            time.sleep(0.005)  # until a process listens there is nothing to wait on

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None
        self.client.connection_pool.disconnect()

    def stop(self) -> None:
        """Let it stand still: it accepts, and never answers."""
        os.kill(self.pid, signal.SIGSTOP)
        self._is_stopped = True

    def go_on(self) -> None:
        if self._is_stopped:
            os.kill(self.pid, signal.SIGCONT)
        self._is_stopped = False

    def restart(self) -> None:
        self.kill()
        self.start()

    def heal(self) -> None:
        """Whatever was done to it: it answers, and is empty."""
        if self._process is None:
            self.start()
        self.go_on()
        self.client.config_set("maxmemory", 0)
        self.client.execute_command("REPLICAOF", "NO", "ONE")
        self.client.flushall()


@contextlib.contextmanager
def serving() -> Iterator[RedisServer]:
    folder = Path(tempfile.mkdtemp(prefix="redis-"))  # pytest's own are too long for a socket's path
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.go_on()
        server.kill()
        server.client.close()
        shutil.rmtree(folder)
