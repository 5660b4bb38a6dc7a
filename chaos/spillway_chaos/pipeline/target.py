"""The platform that load is for: the pipeline's own, started when the first step needs it, or one given by URL."""

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil

from spillway_chaos.deadman import Deadman, End, Remove
from spillway_chaos.errors import StageError
from spillway_chaos.stage.instance import Instance


class TargetPlatform:
    """Use it as a context manager."""

    def __init__(self, given: str | None) -> None:
        self._given = given
        self._instance: Instance | None = None
        self._deadman: Deadman | None = None

    def url(self) -> str:
        """Return where it is; it is started if nobody gave one. Raises `StageError`."""
        if self._given is not None:
            try:
                ready = httpx.get(f"{self._given.rstrip('/')}/ready", timeout=10.0)
            except httpx.HTTPError as error:
                raise StageError(f"nothing answers at {self._given}: {error}") from None
            if ready.status_code != httpx.codes.OK:
                raise StageError(f"{self._given} is not ready: {ready.text[:200]}")
            return self._given
        if self._instance is None:
            folder = Path(tempfile.mkdtemp(prefix="spillway-pipeline-"))
            self._deadman = Deadman()
            self._deadman.arm(Remove(path=str(folder)))
            self._instance = Instance.start(["--port", "0", "--ops-port", "0", "--drain-grace-s", "0"], folder, {})
            born = psutil.Process(self._instance.pid).create_time()
            self._deadman.arm(End(pid=self._instance.pid, born=born))
        return self._instance.api

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._instance is not None:
            self._instance.end()
        if self._deadman is not None:
            self._deadman.close()
