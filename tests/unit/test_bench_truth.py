"""The witnesses of a campaign: each kind of lie is found, and the truth is not called one."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import msgspec
import pytest

from spillway.bench.client import Reply
from spillway.bench.exposition import Scraped
from spillway.bench.streams import Count
from spillway.bench.truth.judgement import Book, Verdict, judge
from spillway.bench.truth.recorded import Recorded
from spillway.bench.truth.traffic import KINDS, Kind, Seen, Sent, seen_of
from spillway.telemetry.metrics.exposition import Exposition
from spillway.telemetry.metrics.pages import families_of_pages
from spillway.telemetry.metrics.requests import RequestMetrics, RequestRecord
from spillway_wire import names
from spillway_wire.label_book import LabelBook
from spillway_wire.outcomes import Outcome
from spillway_wire.series import SeriesPage
from spillway_wire.series_reader import Read, read_series

TEXT = """# TYPE spillway_arrivals_total counter
spillway_arrivals_total{{gateway="gateway-0"}} {arrivals}
# TYPE spillway_outcomes_total counter
spillway_outcomes_total{{gateway="gateway-0",outcome="completed"}} {outcomes}
# TYPE spillway_open_requests gauge
spillway_open_requests{{gateway="gateway-0"}} {open}
# TYPE spillway_recoveries_total counter
spillway_recoveries_total{{gateway="gateway-0"}} {recoveries}
"""
NUM = 4


def books(text: str, **changed: float) -> list[Book]:
    """Scrapes before and after; `text` is what gateways' pages say in the end."""
    before = TEXT.format(arrivals=0, outcomes=0, open=0, recoveries=0)
    said = {"arrivals": NUM, "outcomes": NUM, "open": 0, "recoveries": 1} | changed
    return [Book(Scraped.read(before), 0, 0), Book(Scraped.read(TEXT.format(**said) + text), NUM, NUM)]
