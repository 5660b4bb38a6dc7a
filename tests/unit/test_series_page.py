"""Pages of series: what is counted is there for a reader, whole or not at all, and outlives the writer."""

import math
import struct
from pathlib import Path

import pytest

from spillway_wire import names
from spillway_wire.metric import Metric, counter, gauge, histogram
from spillway_wire.outcomes import Outcome
from spillway_wire.series import OVERFLOW, SeriesPage
from spillway_wire.series_page import LARGE_PAGE_BYTES, RECORDS_AT, USED_AT, WORD, SeriesError, create_series, mark_dead
from spillway_wire.series_reader import SeriesReader

COUNTED = counter("spillway_test_counted", "Things.", "kind")
NOW = gauge("spillway_test_now", "How it is.", "kind")
TIMES = histogram("spillway_test_times_seconds", "Times.", "kind", buckets=(0.1, 1.0), unit="seconds", exemplars=True)
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_series(tmp_path / "page")
    return tmp_path / "page"


def numbers(path: Path, metric: Metric, *labels: str) -> tuple[float, ...] | None:
    reader = SeriesReader(path)
    read = reader.read()
    reader.close()
    found = (read.kept | read.gauges).get((metric.id, labels))
    return None if found is None else found.numbers


def test_what_is_counted_is_read_and_outlives_the_writer(path: Path) -> None:
    page = SeriesPage(path)
    page.counters(COUNTED).of("a").add()
    page.counters(COUNTED).of("a").add(2.5)
    page.counters(COUNTED).of("b").add()
    page.gauges(NOW).of("a").set(-3.0)
    times = page.histograms(TIMES).of("a")
    for value in (0.1, 0.2, 1.0, 7.0):  # 8.3 in all
        times.observe(value)
    page.close()

    assert numbers(path, COUNTED, "a") == (3.5,)
    assert numbers(path, COUNTED, "b") == (1.0,)
    assert numbers(path, NOW, "a") == (-3.0,)
    assert numbers(path, TIMES, "a") == (1.0, 2.0, 1.0, 8.3)  # bounds are inclusive; the sum is last


def test_a_gauge_is_seen_while_it_is_set_and_its_writer_lives(path: Path) -> None:
    page = SeriesPage(path)
    queued = page.gauges(NOW).of("a")
    assert numbers(path, NOW, "a") is None
    queued.set(2)
    assert numbers(path, NOW, "a") == (2.0,)
    queued.clear()
    assert numbers(path, NOW, "a") is None
    queued.set(2)
    page.counters(COUNTED).of("a").add()
    page.close()
    mark_dead(path)
    assert numbers(path, NOW, "a") is None
    assert numbers(path, COUNTED, "a") == (1.0,)


def test_a_reader_sees_series_that_come_later(path: Path) -> None:
    page = SeriesPage(path)
    reader = SeriesReader(path)
    assert set(reader.read().kept) == {(OVERFLOW.id, ())}
    page.counters(COUNTED).of("a").add()
    assert (COUNTED.id, ("a",)) in reader.read().kept
    page.histograms(TIMES).of("b").observe(1.0)
    assert (TIMES.id, ("b",)) in reader.read().kept
    reader.close()
    page.close()


def test_a_page_that_is_opened_again_goes_on(path: Path) -> None:
    for _ in range(2):
        page = SeriesPage(path)
        page.counters(COUNTED).of("a").add()
        page.close()
    assert numbers(path, COUNTED, "a") == (2.0,)


def test_a_series_that_is_not_whole_is_not_there(path: Path) -> None:
    page = SeriesPage(path)
    page.counters(COUNTED).of("a").add()
    page.close()
    content = bytearray(path.read_bytes())
    (used,) = struct.unpack_from("=Q", content, USED_AT * WORD)

    path.write_bytes(content[:RECORDS_AT] + bytes(len(content) - RECORDS_AT))  # nothing of any record has arrived
    assert numbers(path, OVERFLOW) is None
    for torn in range(used - 32, used - 8):  # any byte of the last head differs
        spoilt = bytearray(content)
        spoilt[torn] ^= 0xFF
        path.write_bytes(spoilt)
        assert numbers(path, OVERFLOW) == (0.0,)
        assert numbers(path, COUNTED, "a") in {None, (1.0,)}  # padding is no part of it


def test_an_exemplar_leads_to_the_latest_trace_of_its_bucket(path: Path) -> None:
    page = SeriesPage(path)
    times = page.histograms(TIMES).of("a")
    times.observe(0.5, "f" * 32, 1.0)
    times.observe(0.6, TRACE, 2.0)
    times.observe(0.7)
    times.observe(0.7, "no trace")
    reader = SeriesReader(path)
    exemplars = reader.read().kept[TIMES.id, ("a",)].exemplars
    assert exemplars == (None, (TRACE, 0.6, 2.0), None)

    at = bytes(page.memory).index(bytes.fromhex(TRACE))
    page.memory[at : at + 1] = b"\x00"  # half of another trace has been written
    assert reader.read().kept[TIMES.id, ("a",)].exemplars == (None, None, None)
    assert numbers(path, TIMES, "a") == (0.0, 4.0, 0.0, 0.5 + 0.6 + 0.7 + 0.7)
    reader.close()
    page.close()


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, -math.inf])
def test_what_would_make_a_sum_go_backwards_is_left_out_and_counted(path: Path, value: float) -> None:
    page = SeriesPage(path)
    page.counters(COUNTED).of("a").add(value)
    page.histograms(TIMES).of("a").observe(value, TRACE, 1.0)
    assert page.num_lost == 2
    page.close()
    assert numbers(path, COUNTED, "a") == (0.0,)
    assert numbers(path, TIMES, "a") == (0.0, 0.0, 0.0, 0.0)
    assert numbers(path, OVERFLOW) == (2.0,)


def test_what_does_not_fit_is_counted_and_nothing_else_is_harmed(path: Path) -> None:
    page = SeriesPage(path)
    family = page.histograms(TIMES)
    first = family.of("first")
    for number in range(2000):
        family.of(f"label-{number}").observe(0.5)
    first.observe(0.5)
    assert 0 < page.num_lost < 2000
    stored = 2000 - page.num_lost
    page.gauges(NOW).of("late " * 1000).set(1)
    page.counters(COUNTED).of("late " * 1000).add()
    reader = SeriesReader(path)
    read = reader.read()
    counts = [sum(values.numbers[:-1]) for (metric, _), values in read.kept.items() if metric == TIMES.id]
    assert sum(counts) == stored + 1
    assert all(len(label) <= 128 for _, labels in (*read.kept, *read.gauges) for label in labels)
    reader.close()
    page.close()


def test_labels_and_kinds_are_held_to_the_definition() -> None:
    page = SeriesPage()
    with pytest.raises(ValueError, match=r"has the labels \('kind',\), not \(\)"):
        page.counters(COUNTED).of()
    with pytest.raises(TypeError, match="is a gauge, not a counter"):
        page.counters(NOW)
    with pytest.raises(ValueError, match="must end with its unit"):
        gauge("spillway_x", "", unit="seconds")
    with pytest.raises(ValueError, match="must ascend"):
        histogram("spillway_x", "", buckets=(1.0, 1.0))
    with pytest.raises(ValueError, match="histograms have buckets"):
        histogram("spillway_x", "", buckets=())
    page.close()


def test_a_file_that_is_no_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page"
    for content in (b"", b"x" * 64, b"SPLWSERS" + bytes(8), b"SPLWSERS\x02" + bytes(4096 - 9)):
        path.write_bytes(content)
        for make in (SeriesReader, SeriesPage):
            with pytest.raises(SeriesError):
                make(path)
    with pytest.raises(FileNotFoundError):
        SeriesPage(tmp_path / "none")


def test_a_gateways_page_holds_a_hundred_tenants_and_three_models() -> None:
    page = SeriesPage(num_bytes=LARGE_PAGE_BYTES)
    for tenant in range(names.MAX_TENANTS + 1):
        for outcome in Outcome:
            page.counters(names.TENANT_REQUESTS).of(f"tenant-with-a-name-{tenant}", "silver", outcome).add()
        for kind in ("input", "cached", "output"):
            page.counters(names.TENANT_TOKENS).of(f"tenant-with-a-name-{tenant}", kind).add()
    for model in ("llama", "qwen", "demo"):
        for tier in ("gold", "silver", "bronze"):
            for operation in set(names.OPERATIONS.values()):
                for metric in (names.TIME_TO_FIRST_TOKEN, names.TIME_PER_OUTPUT_TOKEN):
                    page.histograms(metric).of(operation, names.PROVIDER, model, tier).observe(1.0)
                for outcome in Outcome:
                    page.histograms(names.REQUEST_DURATION).of(operation, names.PROVIDER, model, tier, outcome).observe(
                        1.0
                    )
    assert page.num_lost == 0
    page.close()
