"""A child's page of series, as the supervisor has made it."""

from collections.abc import Callable

from spillway.runtime import RuntimeFolder
from spillway_wire.series import SeriesPage
from spillway_wire.series_page import LARGE_PAGE_BYTES, SeriesError


def open_page(runtime: RuntimeFolder, child_id: str, incarnation: int, log: Callable[..., None]) -> SeriesPage:
    """Return the page of this incarnation; one that nobody reads where there is none, which is logged."""
    try:
        return SeriesPage(runtime.series(child_id, incarnation))
    except (OSError, SeriesError) as error:
        log("no_series", child=child_id, error=str(error))
        return SeriesPage(num_bytes=LARGE_PAGE_BYTES)
