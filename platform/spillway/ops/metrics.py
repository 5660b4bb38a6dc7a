"""One scrape: what the supervisor knows, what all processes have counted in their pages, and the machine's GPUs.

A supervisor that does not answer takes its part away, and that is told; what was counted is read all the same.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from spillway.ops.overseer import Overseer, SilentError
from spillway.ops.status_families import families, families_of_silence
from spillway.telemetry.metrics.exposition import Exposition, Family
from spillway.telemetry.metrics.gpu import Gpus, families_of_gpus, find_library
from spillway.telemetry.metrics.pages import families_of_pages
from spillway_wire import names
from spillway_wire.series import SeriesPage
from spillway_wire.series_totals import SeriesFolder


class Scraper:
    """Answers scrapes. `page` is where ops counts what it counts itself."""

    def __init__(
        self,
        overseer: Overseer,
        folder: Path,
        page: SeriesPage,
        *,
        gpus: Gpus | None = None,
        more: Callable[[], Iterable[Family]] = tuple,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`folder` is the runtime folder. Without `gpus`, those of this machine are read.

        `more` are families of others.
        """
        self._overseer, self._clock = overseer, clock
        self._series, self._more = SeriesFolder(folder), more
        self._exposition = Exposition()
        self._gpus = Gpus(find_library(), clock=time.monotonic) if gpus is None else gpus
        self._took = page.histograms(names.SCRAPE_DURATION).of()

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """Return the exposition that an `Accept` header asks for, and its content type."""
        began = self._clock()
        try:
            found = families(await self._overseer.status())
        except SilentError:
            found = families_of_silence()  # a scrape that fails would hide what is most important to know now
        gpus = families_of_gpus(await asyncio.to_thread(self._gpus.read) if len(self._gpus) else ())
        counted = families_of_pages(self._series.read())
        answer = self._exposition.encode((*found, *counted, *gpus, *self._more()), accept)
        self._took.observe(self._clock() - began)
        return answer

    def close(self) -> None:
        """Let go of all pages. Idempotent."""
        self._series.close()
