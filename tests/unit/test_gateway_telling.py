"""What is told of a request at its end: one truth in answer, trace, metrics and log; and nothing where that is off."""

import asyncio
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spillway.settings import Settings, TelemetrySettings
from spillway.telemetry.metrics.requests import RequestMetrics
from spillway.telemetry.tracing.sampling import NothingKept, Sampler
from spillway.telemetry.tracing.shared import Buildable, Tracing
from spillway_wire import names
from spillway_wire import trace_names as traced
from spillway_wire.label_book import LabelBook
from spillway_wire.series import SeriesPage
from spillway_wire.series_page import LARGE_PAGE_BYTES, create_series
from spillway_wire.series_reader import Read, SeriesReader

CHAT = {"model": "demo", "messages": [{"role": "user", "content": "Count"}]}


class Told:
    """A gateway whose metrics and traces can be read."""

    def __init__(self, gateway_house: ModuleType, folder: Path, settings: Settings) -> None:
        self.house = gateway_house.House("2 3 4 5 6 7 8 9", settings)
        self.offered: list[Buildable] = []
        create_series(folder / "page", LARGE_PAGE_BYTES)
        gateway = self.house.gateway
        gateway.metrics = RequestMetrics(SeriesPage(folder / "page"), LabelBook(None, most=9, other=names.OTHER))
        gateway.tracing = Tracing(
            self.offered.append, sampler=Sampler(1.0) if settings.telemetry.enabled else NothingKept()
        )
        self._page = folder / "page"

    def read(self) -> Read:
        return SeriesReader(self._page).read()


def observed(read: Read, metric: Any) -> tuple[float, float]:
    """How many values, and their sum."""
    numbers = [values.numbers for (metric_id, _), values in read.kept.items() if metric_id == metric.id]
    return sum(sum(each[:-1]) for each in numbers), sum(each[-1] for each in numbers)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_stop_string_ends_what_is_counted_everywhere(
    gateway_house: ModuleType, asgi: ModuleType, tmp_path: Path, *, stream: bool
) -> None:
    told = Told(gateway_house, tmp_path, Settings())
    house = told.house
    tokens = house.model.text.encode("2 3 4 5 6 7 8 9", add_special_tokens=False)
    house.pool.answer = lambda ticket: gateway_house.give(ticket, tokens, eos=None, sizes=[len(tokens)])  # one piece
    body = CHAT | {"stop": ["5"], "stream": stream} | ({"stream_options": {"include_usage": True}} if stream else {})
    call = asyncio.run(asgi.Call(house.app, "/v1/chat/completions", body).run())
    usage = (call.events[-2] if stream else call.json)["usage"]
    assert 0 < usage["completion_tokens"] < len(tokens)
    (line,) = [fields for event, fields in house.events if event == "request"]
    assert line["output_tokens"] == usage["completion_tokens"]
    assert told.offered[0].build().spans[0].attributes[traced.GEN_AI_OUTPUT_TOKENS] == usage["completion_tokens"]  # type: ignore[union-attr]
    assert observed(told.read(), names.REQUEST_OUTPUT_TOKENS) == (1, usage["completion_tokens"])


def test_trace_and_metrics_have_the_same_times_to_the_last_digit(
    gateway_house: ModuleType, asgi: ModuleType, tmp_path: Path
) -> None:
    told = Told(gateway_house, tmp_path, Settings())
    asyncio.run(asgi.Call(told.house.app, "/v1/chat/completions", CHAT | {"stream": True}).run())
    summary = told.offered[0].build().summary  # type: ignore[union-attr]
    for metric, value in ((names.REQUEST_DURATION, summary.duration_s), (names.TIME_TO_FIRST_TOKEN, summary.ttft_s)):
        count, total = observed(told.read(), metric)
        assert count == 1
        assert total == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("temperature", [0, 9], ids=["served", "refused"])
def test_nothing_is_told_where_telemetry_is_off(
    gateway_house: ModuleType, asgi: ModuleType, tmp_path: Path, temperature: int
) -> None:
    told = Told(gateway_house, tmp_path, Settings(telemetry=TelemetrySettings(enabled=False)))
    call = asyncio.run(asgi.Call(told.house.app, "/v1/chat/completions", CHAT | {"temperature": temperature}).run())
    assert call.status == (200 if temperature == 0 else 400)
    assert told.offered == []
    assert told.house.gateway.tracing.open == {}
    assert [event for event, _ in told.house.events if event == "request"] == []
    assert observed(told.read(), names.REQUEST_DURATION) == (0, 0)
    assert told.house.tally.open_requests == 0  # the books of arrivals have no switch
