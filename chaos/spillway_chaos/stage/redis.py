"""A Redis of the stage's own, on a unix socket in its folder, for drills that poison the way to it."""

import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

import redis

from spillway_chaos.errors import StageError

STARTS_WITHIN_S: Final = 10.0


class OwnRedis:
    """Started by `__init__`; can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.client = redis.Redis(unix_socket_path=str(self.socket), socket_timeout=5.0)
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        program = shutil.which("redis-server")
        if program is None:
            raise StageError("there is no redis-server on the path; install it (Debian: apt install redis-server)")
        command = [program, "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no"]
        process = subprocess.Popen(  # noqa: S603 - our own
            command, stdout=subprocess.DEVNULL, cwd=self.socket.parent
        )
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise StageError("the stage's redis-server did not start")
            time.sleep(0.02)
        return process

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def restart(self) -> None:
        """Start it again, empty, if it is not there."""
        if self.process.poll() is not None:
            self.process = self._start()

    def close(self) -> None:
        """End it. Idempotent."""
        self.client.close()
        self.process.kill()
        self.process.wait()
