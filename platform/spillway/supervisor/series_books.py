"""The metrics that children count: a page of series for each incarnation, and what the dead have counted.

The supervisor makes the page before the child starts, and adds it to the totals of its place when the child is gone;
its own metrics lie in a page of its own. That no page can be made, or no totals written, is logged and stops nothing.
"""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from spillway.runtime import RuntimeFolder
from spillway_wire import names
from spillway_wire.outcomes import Outcome
from spillway_wire.series import SeriesPage
from spillway_wire.series_page import LARGE_PAGE_BYTES, SMALL_PAGE_BYTES, SeriesError, create_series
from spillway_wire.series_reader import Series, Values, add_to
from spillway_wire.series_totals import Rest, SeriesTotals
from spillway_wire.verdicts import BEFORE_FIRST_TOKEN

SUPERVISOR: Final = "supervisor"


class SeriesBooks:
    """Of all places. `own` is the supervisor's page."""

    def __init__(self, runtime: RuntimeFolder, log: Callable[..., None]) -> None:
        self._runtime, self._log = runtime, log
        self._totals: dict[str, SeriesTotals] = {}
        self.own = self._own_page()

    def open(self, child_id: str, incarnation: int, *, large: bool = False) -> "ChildSeries":
        """Make the page of an incarnation that is about to start. A `large` one holds tenants."""
        if child_id not in self._totals:
            totals = self._totals[child_id] = SeriesTotals(self._runtime.path, child_id)
            with contextlib.suppress(OSError):  # that there is no room will be told with the page
                totals.begin()
        path = self._create(child_id, incarnation, LARGE_PAGE_BYTES if large else SMALL_PAGE_BYTES)
        return ChildSeries(self, child_id, incarnation, path)

    def fold(self, child_id: str, incarnation: int, rest: Rest) -> None:
        """Keep what an incarnation that is gone has counted."""
        try:
            self._totals[child_id].fold(incarnation, rest)
        except OSError as error:
            self._log("series_not_kept", child=child_id, incarnation=incarnation, error=str(error))

    def close(self) -> None:
        """Let go of the supervisor's page. Idempotent."""
        self.own.close()

    def _create(self, child_id: str, incarnation: int, num_bytes: int) -> Path | None:
        path = self._runtime.series(child_id, incarnation)
        try:
            create_series(path, num_bytes)
        except OSError as error:
            self._log("no_series", child=child_id, incarnation=incarnation, error=str(error))
            path.unlink(missing_ok=True)
            return None
        return path

    def _own_page(self) -> SeriesPage:
        try:
            return SeriesPage(self._create(SUPERVISOR, 1, SMALL_PAGE_BYTES))
        except (OSError, SeriesError) as error:
            self._log("no_series", child=SUPERVISOR, error=str(error))
            return SeriesPage()


class ChildSeries:
    """The page of one incarnation, from before its start to after its end."""

    def __init__(self, books: SeriesBooks, child_id: str, incarnation: int, path: Path | None) -> None:
        self._books, self._child_id, self._incarnation = books, child_id, incarnation
        self.path = path
        """None: there is none, and the child counts for nobody."""

    def close(self, rest: Rest = lambda _: {}) -> None:
        """Keep what it counted, with the `rest` that is known better here, and remove the page."""
        self._books.fold(self._child_id, self._incarnation, rest)


def rest_of(tally: Mapping[str, int]) -> Rest:
    """Return what makes a dead gateway's requests by outcome add up to its settled tally.

    What it had open, and what it was about to count, is booked without model, tier and band, which nobody knows any
    more: the sums over those labels agree with the tally exactly.
    """

    def rest(kept: Series) -> Series:
        counted: dict[str, float] = {}
        for (metric_id, labels), values in kept.items():
            if metric_id == names.REQUESTS.id:
                counted[labels[-1]] = counted.get(labels[-1], 0.0) + values.numbers[0]
        missing: Series = {}
        for outcome in Outcome:
            number = tally.get(f"outcome_{outcome.value}", 0) - counted.get(outcome.value, 0.0)
            if number > 0:
                blank = ("",) * (len(names.REQUESTS.labels) - 1)
                missing[names.REQUESTS.id, (*blank, outcome.value)] = Values((float(number),))
                verdict = ("", "", BEFORE_FIRST_TOKEN[outcome].value)
                add_to(missing, {(names.JUDGED_REQUESTS.id, verdict): Values((float(number),))})
        return missing

    return rest
