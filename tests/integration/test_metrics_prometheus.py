"""A real Prometheus reads a real ops process: its metrics are clean, its exemplars kept, and the rules work on them."""

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spillway.runtime import RuntimeFolder
from spillway.telemetry.metrics.requests import RequestMetrics, RequestRecord
from spillway_wire import names
from spillway_wire.label_book import LabelBook
from spillway_wire.outcomes import Outcome
from spillway_wire.series import SeriesPage
from spillway_wire.series_page import LARGE_PAGE_BYTES, create_series

RULES = Path(__file__).parents[2] / "dashboards" / "rules" / "vllm_compat.yaml"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PATIENCE_S = 40.0
OPENMETRICS = {"accept": "application/openmetrics-text;version=1.0.0"}
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus here")


def serve_some(runtime: RuntimeFolder) -> SeriesPage:
    """Count as a gateway does that serves a request each of several kinds."""
    create_series(runtime.series("gateway-0", 1), LARGE_PAGE_BYTES)
    page = SeriesPage(runtime.series("gateway-0", 1))
    metrics = RequestMetrics(page, LabelBook(runtime.tenant_labels, most=100, other="other"))
    for number, outcome in enumerate((Outcome.COMPLETED, Outcome.COMPLETED, Outcome.OVERLOADED, Outcome.ENGINE_FAILED)):
        has_begun = outcome is not Outcome.OVERLOADED
        metrics.finished(
            RequestRecord(
                endpoint="chat",
                outcome=outcome,
                began=0.0,
                first_token=0.25 if has_begun else None,
                ended=1.0 + number,
                model="demo",
                tenant='te"na\\nt',
                tier="gold",
                band="default",
                limit=None if has_begun else "ttft=1s (gold)",
                queue_s=0.01,
                prompt_tokens=100,
                output_tokens=10,
                predicted_ttft_s=0.2,
                retry_after_s=None if has_begun else 2.0,
                trace_id=TRACE,
                at=1.7e9 + number,
            )
        )
    return page


def exemplar_free(text: str) -> str:
    return "\n".join(line.partition(" # ")[0] for line in text.splitlines() if line != "# EOF" and "# UNIT" not in line)


@needs_prometheus
def test_promtool_finds_no_fault_with_a_scrape(with_ops: Callable[..., None]) -> None:
    async def test(ops: Any) -> None:
        page = serve_some(ops.supervisor.runtime)
        await ops.http.get("/metrics")  # so that there is a scrape whose duration can be told
        answer = await ops.http.get("/metrics")
        opened = await ops.http.get("/metrics", headers=OPENMETRICS)
        checked = await asyncio.to_thread(
            subprocess.run, ["promtool", "check", "metrics"], input=answer.content, capture_output=True, check=False
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
        assert "spillway_scrape_duration_seconds_count" in answer.text
        assert opened.headers["content-type"].startswith("application/openmetrics-text")
        said = {line.rpartition(" ")[0] for line in exemplar_free(opened.text).splitlines() if line[0] != "#"}
        assert said == {line.rpartition(" ")[0] for line in answer.text.splitlines() if line[0] != "#"}
        page.close()

    with_ops(test)


@needs_prometheus
def test_promtool_finds_no_fault_with_the_rules() -> None:
    command = ["promtool", "check", "rules", str(RULES)]
    checked = subprocess.run(command, capture_output=True, check=False, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "SUCCESS" in checked.stdout


@needs_prometheus
def test_prometheus_scrapes_keeps_exemplars_and_evaluates_the_rules(
    with_ops: Callable[..., None], prometheus_server: ModuleType, tmp_path: Path
) -> None:
    async def test(ops: Any) -> None:
        page = serve_some(ops.supervisor.runtime)
        target = str(ops.http.base_url).removeprefix("http://")
        async with prometheus_server.prometheus(tmp_path, target, rules=[RULES]) as ask:

            async def value(query: str) -> dict[str, float]:
                """Wait until a query has an answer; return it by model."""
                found = await ask("query", query=query)
                while not found["result"]:
                    await asyncio.sleep(0.2)
                    found = await ask("query", query=query)
                return {each["metric"].get("model_name", ""): float(each["value"][1]) for each in found["result"]}

            async with asyncio.timeout(PATIENCE_S):
                assert await value("spillway_requests_total{outcome='overloaded'}") == {"": 1}
                assert await value("sum(spillway_tenant_requests_total{tenant='te\"na\\\\nt'})") == {"": 4}
                assert await value("vllm_requests_total") == {"demo": 4}
                assert await value("vllm_requests_success_total") == {"demo": 2}
                assert await value("vllm_requests_failed_total") == {"demo": 2}
                assert await value("vllm_request_latency_seconds_count") == {"demo": 4}
                assert await value("vllm_request_latency_seconds_bucket{le='2.56'}") == {"demo": 2}
                assert await value("vllm_tokens_generated_total") == {"demo": 40}
                assert await value("vllm_tokens_per_second") == {"demo": 0}
                assert await value("sum by (model_name) (vllm_batch_size)") == {"demo": 6}
                assert await value('{__name__="vllm:num_requests_waiting", engine="engine-0"}') == {"demo": 1}
                quantile = "histogram_quantile(0.5, sum by (le) (gen_ai_server_time_to_first_token_seconds_bucket))"
                assert 0.1 <= (await value(quantile))[""] <= 0.25
            query = {"query": names.TIME_TO_FIRST_TOKEN.name + "_bucket", "start": "1699990000", "end": "1700010000"}
            (exemplars,) = await ask("query_exemplars", **query)
            assert {each["labels"]["trace_id"] for each in exemplars["exemplars"]} == {TRACE}
        page.close()

    with_ops(test)
