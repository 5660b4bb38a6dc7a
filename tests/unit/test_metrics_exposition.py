"""The text of a scrape: what Prometheus's own parsers read from it is what was put in, in both formats."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from spillway.telemetry.metrics.exposition import Buckets, Exposition, Family
from spillway.telemetry.metrics.pages import families_of_pages
from spillway_wire import names
from spillway_wire.series import SeriesPage
from spillway_wire.series_page import Exemplar, create_series
from spillway_wire.series_totals import SeriesFolder, SeriesTotals, series_file

OPEN = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def parsed(families: list[Family], accept: str = "", exposition: Exposition | None = None) -> dict[str, Any]:
    body, content_type = (exposition or Exposition()).encode(families, accept)
    assert ("openmetrics" in content_type) == ("openmetrics" in accept)
    parse = parse_openmetrics if "openmetrics" in accept else parse_text
    return {family.name: family for family in parse(body.decode())}


@pytest.mark.parametrize("accept", ["", OPEN])
@given(
    values=st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8),
        st.floats(allow_nan=False) | st.integers(-(2**60), 2**60),
        min_size=1,
    ),
    said=st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=20),
)
def test_any_value_and_label_comes_through(accept: str, values: dict[str, float], said: str) -> None:
    values |= {'a"b\\c\nd': 1.0}
    family = Family("spillway_x", "gauge", said)
    for label, value in values.items():
        family.add((("one", label), ("two", "fixed")), value)

    found = parsed([family], accept)["spillway_x"]

    assert {sample.labels.get("one", ""): sample.value for sample in found.samples} == {
        label: float(value) for label, value in values.items()
    }
    assert found.type == "gauge"


def test_numbers_that_are_none_are_written_as_prometheus_has_them() -> None:
    family = Family("spillway_x", "gauge", "x")
    for place, value in enumerate((math.inf, -math.inf, math.nan)):
        family.add((("place", str(place)),), value)
    body, _ = Exposition().encode([family], "")
    assert [line.split()[-1] for line in body.decode().splitlines()[2:]] == ["+Inf", "-Inf", "NaN"]


@pytest.mark.parametrize("accept", ["", OPEN])
def test_a_histogram_is_cumulative_and_ends_in_its_count(accept: str) -> None:
    family = Family("spillway_times_seconds", "histogram", "Times.", "seconds", (0.1, 1.0))
    exemplars = (None, Exemplar(TRACE, 0.5, 1.7e9), None)
    family.histograms.append(((("model", "m"),), Buckets((1.0, 2.0, 3.0), 40.5, exemplars)))

    found = parsed([family], accept)["spillway_times_seconds"]

    samples = {(sample.name, sample.labels.get("le")): sample for sample in found.samples}
    assert {key: sample.value for key, sample in samples.items()} == {
        ("spillway_times_seconds_bucket", "0.1"): 1,
        ("spillway_times_seconds_bucket", "1.0"): 3,
        ("spillway_times_seconds_bucket", "+Inf"): 6,
        ("spillway_times_seconds_count", None): 6,
        ("spillway_times_seconds_sum", None): 40.5,
    }
    exemplar = samples["spillway_times_seconds_bucket", "1.0"].exemplar
    if "openmetrics" in accept:
        assert exemplar is not None
        assert (exemplar.labels, exemplar.value, float(exemplar.timestamp)) == ({"trace_id": TRACE}, 0.5, 1.7e9)
        assert found.unit == "seconds"
    else:
        assert exemplar is None


def test_a_head_that_is_remembered_is_the_one_that_would_be_made_again() -> None:
    exposition = Exposition()

    def families(value: float, *labels: str) -> list[Family]:
        counts, times = Family("spillway_c", "counter", "C."), Family("spillway_t", "histogram", "T.", "", (1.0,))
        for label in labels:
            counts.add((("label", label),), value)
            times.histograms.append(((("label", label),), Buckets((value, value), value)))
        return [counts, times]

    for accept in ("", OPEN, ""):
        for asked in (families(1.0, "a", "b"), families(2.0, "b"), families(3.0, "a", "c")):
            assert exposition.encode(asked, accept) == Exposition().encode(asked, accept)
    assert len(exposition._heads) == 4  # and those that were not needed last are forgotten


def test_pages_of_all_places_become_one_family_each(tmp_path: Path) -> None:
    for place, incarnation in (("gateway-0", 1), ("gateway-1", 4), ("engine-0", 2), ("ops", 1)):
        create_series(series_file(tmp_path, place, incarnation))
        page = SeriesPage(series_file(tmp_path, place, incarnation))
        if place.startswith("gateway"):
            page.counters(names.REQUESTS).of("demo", "gold", "bulk", "chat", "completed").add(2)
            page.gauges(names.BROWNOUT_LEVEL).of("demo").set(1)
            page.histograms(names.QUEUE_TIME).of("demo", "bulk").observe(0.5)
        if place.startswith("engine"):
            page.histograms(names.STEP_DURATION).of("demo").observe(0.02)
            page.counters(names.DROPPED_FRAMES).of("unread").add()
        page.close()
    SeriesTotals(tmp_path, "gateway-1").fold(4)
    folder = SeriesFolder(tmp_path)

    found = parsed(families_of_pages(folder.read()), OPEN)

    (requests,) = found["spillway_requests"].samples
    labels = {"model": "demo", "tier": "gold", "band": "bulk", "endpoint": "chat", "outcome": "completed"}
    assert (requests.labels, requests.value) == (labels, 4)  # all gateways' together, the dead one's too
    (level,) = found["spillway_brownout_level"].samples
    assert level.labels == {"gateway": "gateway-0", "model": "demo"}  # what it said is over with it
    counts = [sample.value for sample in found["spillway_queue_time_seconds"].samples if sample.name.endswith("_count")]
    assert counts == [2]
    steps = found["spillway_engine_step_duration_seconds"].samples
    assert {sample.labels["engine"] for sample in steps} == {"engine-0"}
    (dropped,) = found["spillway_dropped_frames"].samples
    assert dropped.labels == {"process": "engine-0", "reason": "unread"}
    folder.close()
