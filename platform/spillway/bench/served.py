"""A whole Spillway of one's own, as a user would start it: `spillway serve` on free ports, in a private folder."""

import asyncio
import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from spillway.bench.client import Connection, Reply, get, post

START_TIMEOUT_S = 180.0
"""The first start on a machine compiles kernels."""
END_TIMEOUT_S = 30.0
SERVES_ALL: Final = ("--no-admission-shed",)
"""For what has nothing to do with load: on a machine that others use, too, a busy moment is no finding."""


class StartFailedError(Exception):
    """`spillway serve` did not become ready; carries the end of what it said."""


@dataclass(slots=True)
class Served:
    """A running instance. Make it with `start`; `end` or `kill` it."""

    process: subprocess.Popen[str]
    folder: Path
    log: Path
    """What it writes to standard error."""
    api: tuple[str, int]
    ops: tuple[str, int]
    admin_key: str

    @classmethod
    def start(
        cls, *flags: str, folder: Path, environment: Mapping[str, str] | None = None, timeout_s: float = START_TIMEOUT_S
    ) -> "Served":
        """Start `spillway serve` with `flags` and wait for its ready line. Raises `StartFailedError`."""
        state, log = folder / "state", folder / "serve.log"
        command = [sys.executable, "-m", "spillway", "serve", "--port", "0", "--ops-port", "0"]
        command += ["--state-dir", str(state), "--runtime-dir", str(folder / "run"), *flags]
        with log.open("a", encoding="utf-8") as errors:
            process = subprocess.Popen(  # noqa: S603 - our own command
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **(environment or {})}
            )
        line = _first_line(process, timeout_s)
        words = line.split()
        if len(words) != 3 or words[0] != "ready":
            process.kill()
            process.wait()
            end = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
            raise StartFailedError(f"{' '.join(command)}: said {line!r} instead of its ready line\n{end}")
        api, ops = (urlsplit(word.partition("=")[2]) for word in words[1:])
        key = (state / "admin.key").read_text(encoding="ascii").strip()
        return cls(process, folder, log, _address(api), _address(ops), key)

    @property
    def api_url(self) -> str:
        """Where the API is."""
        return f"http://{self.api[0]}:{self.api[1]}"

    @property
    def ops_url(self) -> str:
        """Where ops is."""
        return f"http://{self.ops[0]}:{self.ops[1]}"

    @property
    def _admin(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.admin_key}"}

    # ---- asking ----

    async def connect(self) -> Connection:
        """Open a connection to the API."""
        return await Connection.open(*self.api)

    async def ask_ops(self, request: bytes) -> Reply:
        """Ask the ops port."""
        link = await Connection.open(*self.ops)
        try:
            return await link.exchange(request)
        finally:
            link.close()

    async def pool(self) -> dict[str, Any]:
        """Return the state of everything (`GET /admin/pool`)."""
        reply = await self.ask_ops(get("/admin/pool", headers=self._admin))
        if reply.status != 200:
            raise RuntimeError(f"GET /admin/pool was answered with {reply.status}: {reply.body.decode()}")
        state: dict[str, Any] = reply.json()
        return state

    async def order(self, path: str, body: object = None) -> Reply:
        """Post to an admin endpoint."""
        return await self.ask_ops(post(path, body or {}, headers=self._admin))

    async def until(self, wanted: Callable[[dict[str, Any]], bool], *, within_s: float = 30.0) -> dict[str, Any]:
        """Look at the pool until it is as wanted, and return it. Raises `TimeoutError` that shows it as it is."""
        deadline = time.monotonic() + within_s
        while True:
            state = await self.pool()
            if wanted(state):
                return state
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {within_s:g} s the pool is still {state}")
            await asyncio.sleep(0.05)

    # ---- the end ----

    def end(self, timeout_s: float = END_TIMEOUT_S) -> int:
        """Ask it twice to end, so that it hurries, and return its exit status."""
        for _ in range(2):
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self.process.wait(timeout_s / 2)
                self.close()
                return status
        self.kill()
        raise TimeoutError(f"spillway serve did not end within {timeout_s:g} s of SIGTERM; see {self.log}")

    def kill(self) -> None:
        """End it at once; its children go with it."""
        self.process.kill()
        self.process.wait()
        self.close()

    def close(self) -> None:
        """Let go of its output, when it has ended. Idempotent."""
        if self.process.stdout is not None:
            self.process.stdout.close()


def _first_line(process: "subprocess.Popen[str]", timeout_s: float) -> str:
    """Return the first line of its output; empty if it ends before, or takes too long."""
    if process.stdout is None:
        return ""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline() if selector.select(timeout_s) else ""


def _address(url: SplitResult) -> tuple[str, int]:
    if url.hostname is None or url.port is None:
        raise ValueError(f"{url.geturl()!r} names no host and port")
    return url.hostname, url.port
