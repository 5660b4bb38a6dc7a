"""Recording rules that give Spillway's series the names that dashboards made for vLLM look for.

`python -m spillway.telemetry.metrics.vllm_rules > dashboards/rules/vllm_compat.yaml` writes the file that Prometheus
loads; a test holds it against this. Names on the right come from the catalogues, so that none can be wrong.

`vllm:` names are those of vLLM's own `/metrics`; `vllm_` names are those of boards that were made without colons.
Utilisation is a share of 1, as everywhere in Prometheus.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from spillway_wire import names
from spillway_wire import status_names as status
from spillway_wire.metric import Metric

WINDOW: Final = "1m"
"""Of rates: four scrapes at Prometheus's usual distance."""
_PARTS: Final = ("bucket", "sum", "count")


@dataclass(frozen=True, slots=True)
class Rule:
    """One recording rule."""

    record: str
    expr: str


def _by_model(expr: str, model: str = "model", *, also: str = "") -> str:
    """Return `expr` added up by model, under vLLM's name for that label."""
    by = f"{also}, {model}" if also else model
    return f'label_replace(sum by ({by}) ({expr}), "model_name", "$1", "{model}", "(.*)")'


def _histogram(record: str, metric: Metric, where: str = "") -> Iterator[Rule]:
    """Yield the rules of a histogram's three parts."""
    model = next(label for label in metric.labels if label in {"model", "gen_ai_request_model"})
    for part in _PARTS:
        series = f"{metric.name}_{part}{where}"
        yield Rule(f"{record}_{part}", _by_model(series, model, also="le" if part == "bucket" else ""))


def _engine(record: str, metric: Metric) -> Rule:
    return Rule(record, _by_model(metric.exposed, also="engine"))


def plain_rules() -> list[Rule]:
    """Return the names without colons."""
    requests, output = names.REQUESTS.exposed, f'{names.MODEL_TOKENS.exposed}{{type="output"}}'
    return [
        Rule("vllm_requests_total", _by_model(requests)),
        Rule("vllm_requests_success_total", _by_model(requests + '{outcome="completed"}')),
        Rule("vllm_requests_failed_total", _by_model(requests + '{outcome!="completed"}')),
        *_histogram("vllm_request_latency_seconds", names.REQUEST_DURATION),
        _engine("vllm_batch_size", status.RUNNING),
        Rule("vllm_gpu_utilization", f"sum by (gpu) ({status.GPU_UTILIZATION.exposed})"),
        Rule("vllm_memory_usage_bytes", f"sum by (gpu) ({status.GPU_MEMORY_USED.exposed})"),
        Rule("vllm_tokens_generated_total", _by_model(output)),
        Rule("vllm_tokens_per_second", _by_model(f"rate({output}[{WINDOW}])")),
    ]


def own_rules() -> list[Rule]:
    """Return vLLM's own names."""
    prompt, output = (f'{names.MODEL_TOKENS.exposed}{{type="{kind}"}}' for kind in ("input", "output"))
    counters = status.ENGINE_COUNTERS
    return [
        _engine("vllm:num_requests_running", status.RUNNING),
        _engine("vllm:num_requests_waiting", status.WAITING),
        _engine("vllm:kv_cache_usage_perc", status.KV_USAGE),
        _engine("vllm:num_preemptions_total", counters["preemptions"]),
        _engine("vllm:prefix_cache_queries_total", counters["prefix_queries"]),
        _engine("vllm:prefix_cache_hits_total", counters["prefix_hits"]),
        Rule("vllm:prompt_tokens_total", _by_model(prompt)),
        Rule("vllm:generation_tokens_total", _by_model(output)),
        Rule("vllm:request_success_total", _by_model(names.REQUESTS.exposed + '{outcome="completed"}')),
        *_histogram("vllm:time_to_first_token_seconds", names.TIME_TO_FIRST_TOKEN),
        *_histogram("vllm:request_time_per_output_token_seconds", names.TIME_PER_OUTPUT_TOKEN),
        *_histogram("vllm:e2e_request_latency_seconds", names.REQUEST_DURATION, '{error_type=""}'),
        *_histogram("vllm:request_queue_time_seconds", names.QUEUE_TIME),
        *_histogram("vllm:request_prompt_tokens", names.REQUEST_PROMPT_TOKENS),
        *_histogram("vllm:request_generation_tokens", names.REQUEST_OUTPUT_TOKENS),
    ]


def energy_rules() -> list[Rule]:
    """Return what a token costs in energy, where GPUs tell theirs."""
    energy = f"sum(rate({status.GPU_ENERGY.exposed}[5m]))"
    tokens = f'sum(rate({names.MODEL_TOKENS.exposed}{{type="output"}}[5m]))'
    return [Rule("spillway:joules_per_output_token:rate5m", f"{energy} / ({tokens} > 0)")]


def document() -> str:
    """Return the rules as YAML; no expression holds a single quote."""
    lines = ["# Written by python -m spillway.telemetry.metrics.vllm_rules; change it there.", "groups:"]
    for group, rules in (
        ("vllm_boards", plain_rules()),
        ("vllm_metrics", own_rules()),
        ("spillway_energy", energy_rules()),
    ):
        lines += [f"  - name: {group}", "    rules:"]
        for rule in rules:
            lines += [f"      - record: {rule.record}", f"        expr: '{rule.expr}'"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
