"""One look at everything: the supervisor's status, and what all processes have counted in their pages."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from spillway.ops.console.counts import counts_of
from spillway.ops.console.snapshot import Sample
from spillway.ops.overseer import Overseer, SilentError
from spillway_wire.series_totals import SeriesFolder

_NOTHING: Final[Mapping[str, Any]] = {}


class Looker:
    """Looks when it is told to. A supervisor that does not answer leaves what it said last, and how old that is."""

    def __init__(
        self,
        overseer: Overseer,
        folder: Path,
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`folder` is the runtime folder."""
        self._overseer, self._wall, self._clock = overseer, wall, clock
        self._series = SeriesFolder(folder)
        self._last: tuple[float, Mapping[str, Any]] | None = None

    async def look(self) -> Sample:
        """Return what is there now."""
        problem, stale_s = "", 0.0
        try:
            status = await self._overseer.status()
            self._last = (self._clock(), status)
        except SilentError as error:
            problem = f"{error}"
            at, status = self._last or (self._clock(), _NOTHING)
            stale_s = self._clock() - at
        places = self._series.read()
        return Sample(
            at=self._wall(),
            counts=counts_of(self._clock(), places, status),
            status=status,
            places=places,
            problem=problem,
            stale_s=stale_s,
        )

    def close(self) -> None:
        """Let go of all pages. Idempotent."""
        self._series.close()
