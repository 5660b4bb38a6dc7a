"""A Spillway of the stage's own: `spillway serve` on free ports of loopback, in a private folder."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from spillway_chaos.errors import StageError

START_S: Final = 180.0
"""The first start on a machine compiles kernels."""
END_S: Final = 30.0
LOOK_S: Final = 0.05
Pool = dict[str, Any]


class Instance:
    """One running Spillway. Make it with `start`."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, api: str, ops: str) -> None:
        self.process, self.folder, self.api, self.ops = process, folder, api, ops
        key = (folder / "state" / "admin.key").read_text(encoding="ascii").strip()
        headers = {"authorization": f"Bearer {key}"}
        self._ops = httpx.Client(base_url=ops, headers=headers, timeout=5.0, trust_env=False)
        self.credentials: dict[str, str] = {}
        """Headers of a tenant's requests."""
        self._api = httpx.Client(base_url=api, timeout=60.0, trust_env=False)

    @classmethod
    def start(cls, flags: Sequence[str], folder: Path, environment: Mapping[str, str]) -> "Instance":
        """Start it where `flags` say, and wait for its ready line. Raises `StageError` with its last words."""
        command = [sys.executable, "-m", "spillway", "serve", "--chaos"]
        command += ["--state-dir", str(folder / "state"), "--runtime-dir", str(folder / "run"), *flags]
        log = folder / "serve.log"
        with log.open("a", encoding="utf-8") as errors:
            process = subprocess.Popen(  # noqa: S603 - our own
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **environment}
            )
        words = _first_line(process).split()
        if len(words) != 3 or words[0] != "ready":
            process.kill()
            process.wait()
            end = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
            raise StageError(f"`{' '.join(command[2:])}` did not become ready: {' / '.join(end) or 'it said nothing'}")
        return cls(process, folder, words[1].partition("=")[2], words[2].partition("=")[2])

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self.process.pid

    # ---- asking ----

    def pool(self) -> Pool:
        """Return the state of everything. Raises httpx.HTTPError."""
        answer = self._ops.get("/admin/pool")
        answer.raise_for_status()
        found: Pool = answer.json()
        return found

    def ops_get(self, path: str) -> httpx.Response:
        """Ask ops."""
        return self._ops.get(path)

    def api_get(self, path: str) -> httpx.Response:
        """Ask a gateway."""
        return self._api.get(path, timeout=5.0)

    def count(self, first: int, last: int, *, alone: bool = False) -> httpx.Response:
        """Have the demo model count, in one whole answer; `alone`: over a connection of its own."""
        asked = {"role": "user", "content": f"Count from {first} to {last}"}
        body = {"model": "demo", "messages": [asked], "temperature": 0}
        url, headers = f"{self.api}/v1/chat/completions", self.credentials
        if alone:
            return httpx.post(url, json=body, headers=headers, timeout=60.0, trust_env=False)
        return self._api.post(url, json=body, headers=headers)

    def inject(self, engine: str, fault: str, *, value: float = 0.0, num_steps: int = 1) -> httpx.Response:
        """Order a fault of an engine."""
        order = {"engine": engine, "fault": fault, "value": value, "num_steps": num_steps}
        return self._ops.post("/admin/faults", json=order)

    def until(self, wanted: Callable[[Pool], str], within_s: float) -> str:
        """Look at the pool until `wanted` says nothing is wrong; return what is still wrong at the end."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                wrong = wanted(self.pool())
            except (httpx.HTTPError, json.JSONDecodeError) as error:
                wrong = f"ops does not answer: {type(error).__name__}"
            if not wrong or time.monotonic() > deadline:
                return wrong
            time.sleep(LOOK_S)

    # ---- the end ----

    def end(self) -> int | None:
        """Ask it twice to end, so that it hurries; return its exit status, None if it had to be killed."""
        for _ in range(2):
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self.process.wait(END_S / 2)
                self._close()
                return status
        self.process.kill()
        self.process.wait()
        self._close()
        return None

    def _close(self) -> None:
        self._ops.close()
        self._api.close()
        if self.process.stdout is not None:
            self.process.stdout.close()


def _first_line(process: subprocess.Popen[str]) -> str:
    if process.stdout is None:
        return ""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline() if selector.select(START_S) else ""
