"""Watches the platform's places while a drill runs: what changed, and when."""

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import httpx
import msgspec

from spillway_chaos.errors import StageError

EVERY_S: Final = 0.1


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A place is in another state, or another incarnation."""

    at: float
    """Of the monotonic clock."""
    id: str
    state: str
    incarnation: int
    exited_at: float | None = None
    """Of the wall clock: when the supervisor saw its last exit."""
    cause: str = ""


class Recorder:
    """Asks from `start` on until `stop`. Ops that does not answer is a place that is `away`."""

    def __init__(self, ask: Callable[[], dict[str, Any]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._clock = ask, clock
        self.changes: list[Change] = []
        self._latest: dict[str, tuple[str, int]] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(EVERY_S):
            self.look()

    def look(self) -> None:
        """Look once."""
        try:
            pool = self._ask()
        except (httpx.HTTPError, ValueError, StageError):
            self._note({"id": "ops", "state": "away", "incarnation": self._latest.get("ops", ("", 0))[1]})
            return
        for place in (*pool["engines"], *pool["gateways"], pool["ops"], pool["redis"]):
            if "id" in place:
                self._note(place)

    def _note(self, place: dict[str, Any]) -> None:
        now = (str(place["state"]), int(place.get("incarnation", 1)))
        if self._latest.get(place["id"]) == now:
            return
        self._latest[place["id"]] = now
        exited = place.get("last_exit") or {}
        self.changes.append(
            Change(
                at=self._clock(),
                id=place["id"],
                state=now[0],
                incarnation=now[1],
                exited_at=exited.get("at"),
                cause=str(exited.get("cause", "")),
            )
        )

    def stop(self) -> list[Change]:
        """End, and return everything. Idempotent."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        return list(self.changes)
