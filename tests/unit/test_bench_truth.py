"""The witnesses of a campaign: each kind of lie is found, and the truth is not called one."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from spillway.bench.client import Reply
from spillway.bench.exposition import Scraped
from spillway.bench.streams import Count
from spillway.bench.truth.judgement import Book, judge
from spillway.bench.truth.recorded import Recorded
from spillway.bench.truth.traffic import KINDS, Seen, Sent, seen_of
from spillway.telemetry.metrics.exposition import Exposition
from spillway.telemetry.metrics.pages import families_of_pages
from spillway.telemetry.metrics.requests import RequestMetrics, RequestRecord
from spillway_wire import trace_names
from spillway_wire.label_book import LabelBook
from spillway_wire.outcomes import Outcome
from spillway_wire.series import SeriesPage
from spillway_wire.series_page import LARGE_PAGE_BYTES, create_series
from spillway_wire.series_reader import SeriesReader

STATUS = """# TYPE spillway_arrivals_total counter
spillway_arrivals_total {arrivals}
# TYPE spillway_outcomes_total counter
spillway_outcomes_total{{outcome="completed"}} {outcomes}
# TYPE spillway_open_requests gauge
spillway_open_requests {open}
# TYPE spillway_recoveries_total counter
spillway_recoveries_total {recoveries}
"""
NUM = 4


class World:
    """Four requests, one of them recovered, as clients, traces and metrics tell of them."""

    def __init__(self, traced: ModuleType, folder: Path) -> None:
        world = traced.World()
        self.seen: list[Seen] = []
        self.traces: dict[str, Recorded] = {}
        create_series(folder / "page", LARGE_PAGE_BYTES)
        metrics = RequestMetrics(SeriesPage(folder / "page"), LabelBook(None, most=9, other="other"))
        for number in range(NUM):
            told = world.complete(f"r{number}", deaths=int(number == 0), tokens=3 + number)
            trace = told.build()
            key = trace.summary.trace_id
            first_at = told.first_token_ns / 1e9
            self.traces[key] = Recorded(trace.summary, trace.spans, first_at)
            self.seen.append(
                Seen(
                    trace_id=key,
                    kind="chat, streamed",
                    left=False,
                    status=200,
                    outcome=Outcome.COMPLETED,
                    first_s=(trace.summary.ttft_s or 0.0) + 0.001,
                    first_at=first_at + 0.001,
                    whole_s=trace.summary.duration_s + 0.001,
                    prompt_tokens=told.counts.prompt_tokens,
                    output_tokens=told.counts.output_tokens,
                    counted_tokens=told.counts.output_tokens,
                )
            )
            metrics.finished(
                RequestRecord(
                    endpoint="chat",
                    outcome=Outcome.COMPLETED,
                    began=told.began_ns / 1e9,
                    ended=told.ended_ns / 1e9,
                    first_token=told.first_token_ns / 1e9,
                    model="demo",
                    tier="gold",
                    band="default",
                    prompt_tokens=told.counts.prompt_tokens,
                    output_tokens=told.counts.output_tokens,
                )
            )
        families = families_of_pages({"gateway-0": SeriesReader(folder / "page").read()})
        self.pages = Exposition().encode(families, "")[0].decode()

    def books(self, **changed: float) -> list[Book]:
        """Scrapes before and after."""
        zero = STATUS.format(arrivals=0, outcomes=0, open=0, recoveries=0)
        said = {"arrivals": NUM, "outcomes": NUM, "open": 0, "recoveries": 1} | changed
        return [Book(Scraped.read(zero), 0, 0), Book(Scraped.read(STATUS.format(**said) + self.pages), NUM, NUM)]

    def wrong(self, books: list[Book] | None = None) -> dict[str, list[str]]:
        """What is found to be wrong."""
        found = judge(self.seen, self.traces, books or self.books()).wrong
        return {promise: why for promise, why in found.items() if why}


@pytest.fixture
def world(traced: ModuleType, tmp_path: Path) -> World:
    return World(traced, tmp_path)


def test_witnesses_that_agree_are_believed(world: World) -> None:
    verdict = judge(world.seen, world.traces, world.books())
    assert {promise for promise, wrong in verdict.wrong.items() if wrong} == set()
    assert verdict.counts["of them recovered"] == 1
    assert len(verdict.times) == 6


Lie = Callable[[World], object]


def changed(world: World, **fields: Any) -> None:
    world.seen[1] = replace(world.seen[1], **fields)


def without_a_trace(world: World) -> None:
    del world.traces[world.seen[2].trace_id]


def another_trace(world: World, **fields: Any) -> None:
    key = world.seen[3].trace_id
    world.traces[key] = replace(world.traces[key], summary=msgspec.structs.replace(world.traces[key].summary, **fields))


@pytest.mark.parametrize(
    ("lie", "promise"),
    [
        (without_a_trace, "every arrival has its trace, every trace its arrival"),
        (lambda world: changed(world, outcome=Outcome.OVERLOADED), "client and trace name the same outcome"),
        (lambda world: changed(world, outcome=None), "client and trace name the same outcome"),
        (lambda world: changed(world, output_tokens=99), "client and trace count the same tokens"),
        (lambda world: changed(world, counted_tokens=1), "client and trace count the same tokens"),
        (lambda world: another_trace(world, outcome="internal"), "traces and metrics have the same counts"),
        (lambda world: another_trace(world, duration_s=50.0), "traces and metrics have the same histograms"),
        (lambda world: another_trace(world, ttft_s=5.0), "traces and metrics have the same histograms"),
        (
            lambda world: changed(world, first_at=99.0),
            "no first token reaches a client before its gateway has it",
        ),
        (
            lambda world: [
                world.seen.__setitem__(place, replace(each, first_s=9.0)) for place, each in enumerate(world.seen)
            ],
            "client and trace measure the same times",
        ),
    ],
    ids=[
        *("no trace", "outcome", "no end", "usage", "tokens", "trace's outcome", "duration", "first token"),
        *("before the gateway", "stopwatch"),
    ],
)
def test_each_lie_is_found(world: World, lie: Lie, promise: str) -> None:
    lie(world)
    assert promise in world.wrong()


@pytest.mark.parametrize(
    ("said", "promise"),
    [
        ({"arrivals": NUM + 1}, "arrivals are outcomes and open requests, at every scrape"),
        ({"arrivals": NUM + 1, "open": 1}, "arrivals are outcomes and open requests, at every scrape"),
        ({"arrivals": NUM - 1, "outcomes": NUM - 1}, "arrivals are outcomes and open requests, at every scrape"),
        ({"recoveries": 2}, "traces and metrics have the same counts"),
    ],
    ids=["no outcome", "nobody sent it", "answered and not booked", "recoveries"],
)
def test_books_that_do_not_balance_are_found(world: World, said: dict[str, float], promise: str) -> None:
    assert promise in world.wrong(world.books(**said))


def test_what_goes_backwards_or_vanishes_is_found(world: World) -> None:
    first, last = world.books()
    assert list(last.scraped.fallen(first.scraped)) == []
    fallen = list(first.scraped.fallen(last.scraped))
    assert any("spillway_arrivals_total" in each and "4, then 0" in each for each in fallen)
    assert any("spillway_requests_total" in each and "then nothing" in each for each in fallen)
    assert "nothing that counts goes backwards" in world.wrong([first, last, first, last])


def test_a_scrape_is_numbers_by_labels() -> None:
    scraped = Scraped.read(
        '# TYPE h histogram\nh_bucket{m="a",le="1.0"} 2\nh_bucket{m="a",le="+Inf"} 3\n'
        'h_count{m="a"} 3\nh_sum{m="a"} 7\n'
        '# TYPE c counter\nc_total{m="a",k="x"} 1\nc_total{m="b",k="x"} 2\n'
    )
    assert scraped.buckets("h") == {1.0: 2.0, float("inf"): 3.0}
    assert (scraped.total("c_total"), scraped.total("c_total", m="b"), scraped.total("nothing")) == (3.0, 2.0, 0.0)
    assert scraped.by("c_total", "k", "absent") == {("x", ""): 3.0}


# ---- what a client sees ----


def reply_of(*pieces: bytes, stream: bool = True, status: int = 200) -> Reply:
    kind = "text/event-stream; charset=utf-8" if stream else "application/json"
    arrivals = [10.0 + place for place in range(len(pieces))]
    return Reply(9.0, status, {"content-type": kind}, list(pieces), arrivals, arrivals[-1] + 0.5)


def sent(name: str) -> Sent:
    kind = next(kind for kind in KINDS if kind.name == name)
    return Sent(kind, Count(3, 5), "ab" * 16, b"")


def event(body: object) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def test_a_streams_first_token_is_its_first_text_and_not_its_first_byte() -> None:
    opening = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
    text = {"choices": [{"index": 0, "delta": {"content": "3 4 5"}, "finish_reason": None}]}
    ending = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 4}}
    pieces = [b": keep-alive\n\n", event(opening), event(text)[:9], event(text)[9:], event(ending), event(usage)]
    seen = seen_of(sent("chat, streamed"), reply_of(*pieces, b"data: [DONE]\n\n"), left=False)
    assert (seen.outcome, seen.first_s, seen.whole_s) == (Outcome.COMPLETED, 4.0, 7.5)
    assert (seen.prompt_tokens, seen.output_tokens, seen.counted_tokens) == (7, 4, 4)
    cut = seen_of(sent("chat, streamed"), reply_of(*pieces), left=False)
    assert cut.outcome is None


def test_an_error_names_its_outcome_in_a_body_or_in_a_stream() -> None:
    error = {"error": {"message": "no", "spillway": {"outcome": "overloaded"}}}
    body = seen_of(sent("generate"), reply_of(json.dumps(error).encode(), stream=False, status=503), left=False)
    told = seen_of(sent("generate, streamed"), reply_of(event({"text": "3"}), event(error)), left=False)
    assert (body.outcome, told.outcome) == (Outcome.OVERLOADED, Outcome.OVERLOADED)


def test_token_ids_are_counted_where_they_are_told() -> None:
    body = {
        "outputs": [{"text": "3 4", "token_ids": [1, 2, 3], "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 3},
    }
    seen = seen_of(sent("generate"), reply_of(json.dumps(body).encode(), stream=False), left=False)
    assert (seen.counted_tokens, seen.first_s) == (3, None)


def test_attributes_of_the_trace_are_read_by_their_kind(world: World) -> None:
    trace = world.traces[world.seen[0].trace_id]
    assert trace.number(trace_names.GEN_AI_OUTPUT_TOKENS) == world.seen[0].output_tokens
    assert trace.text(trace_names.TIER) == "gold"
    assert (trace.number("nothing"), trace.text("nothing")) == (None, "")
