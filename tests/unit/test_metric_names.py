"""The catalogues: names by the conventions, the standard's buckets, and rules that find what they name."""

import re
from pathlib import Path

import pytest

from spillway.telemetry.metrics.vllm_rules import document
from spillway_wire import buckets, names
from spillway_wire.metric import Kind, Metric
from spillway_wire.status_names import STATUS_METRICS

ALL = (*names.METRICS, *STATUS_METRICS)
RULES = Path(__file__).parents[2] / "dashboards" / "rules" / "vllm_compat.yaml"
BOARDS = {
    *("vllm_requests_total", "vllm_requests_success_total", "vllm_requests_failed_total"),
    *("vllm_request_latency_seconds_bucket", "vllm_request_latency_seconds_sum", "vllm_request_latency_seconds_count"),
    *("vllm_batch_size", "vllm_gpu_utilization", "vllm_memory_usage_bytes", "vllm_tokens_generated_total"),
    "vllm_tokens_per_second",
}


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_a_metric_is_named_by_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"(spillway|gen_ai)_[a-z0-9_]+", metric.name)
    assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket"))
    assert metric.help.endswith(".")
    for label in (*metric.labels, *([metric.place] if metric.place else [])):
        assert re.fullmatch(r"[a-z][a-z0-9_]*", label)
        assert label not in {"le", "quantile", "job", "instance", "incarnation"}
    if metric.attribute:
        assert metric.name == metric.attribute.replace(".", "_") + "_" + metric.unit


def test_no_name_is_given_twice() -> None:
    exposed = [metric.exposed for metric in ALL]
    assert len(exposed) == len(set(exposed))
    assert len({metric.id for metric in ALL}) == len(ALL)


def test_the_standards_buckets_are_kept_and_only_a_head_and_a_tail_are_added() -> None:
    for ours, spec in (
        (names.REQUEST_DURATION, buckets.GENAI_REQUEST_DURATION),
        (names.TIME_TO_FIRST_TOKEN, buckets.GENAI_TIME_TO_FIRST_TOKEN),
        (names.TIME_PER_OUTPUT_TOKEN, buckets.GENAI_TIME_PER_OUTPUT_TOKEN),
    ):
        head = ours.buckets.index(spec[0])
        assert ours.buckets[head : head + len(spec)] == spec
        assert {"gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"} <= set(ours.labels)
    assert tuple(0.01 * 2**power for power in range(14)) == buckets.GENAI_REQUEST_DURATION
    assert buckets.GENAI_TIME_TO_FIRST_TOKEN[0] == 0.001
    assert (len(buckets.GENAI_TIME_TO_FIRST_TOKEN), len(buckets.GENAI_TIME_PER_OUTPUT_TOKEN)) == (16, 13)
    assert (buckets.GENAI_TIME_TO_FIRST_TOKEN[-1], buckets.GENAI_TIME_PER_OUTPUT_TOKEN[-1]) == (10.0, 2.5)
    assert "error_type" in names.REQUEST_DURATION.labels


def test_the_rules_for_vllm_boards_are_those_in_the_file() -> None:
    assert RULES.read_text(encoding="utf-8") == document()


def test_every_rule_uses_series_and_labels_that_exist() -> None:
    known = {metric.exposed: {*metric.labels, metric.place} for metric in ALL if metric.kind is not Kind.HISTOGRAM}
    for metric in ALL:
        if metric.kind is Kind.HISTOGRAM:
            known |= {
                f"{metric.name}_{part}": {*metric.labels, metric.place, "le"} for part in ("bucket", "sum", "count")
            }
    recorded = set(re.findall(r"record: (\S+)", document()))
    assert recorded >= BOARDS
    for expr in re.findall(r"expr: '(.*)'", document()):
        used = set(re.findall(r"(?:spillway|gen_ai_server)_\w+", expr))
        assert used
        assert used <= known.keys(), expr
        labels = set().union(*(known[name] for name in used))
        grouped = {label for group in re.findall(r"by \(([^)]*)\)", expr) for label in group.split(", ")}
        matched = set(re.findall(r"[{,]\s*(\w+)!?=", expr))
        assert grouped | matched <= labels, expr
