"""A report from what ops remembers: the same numbers as `/slo`, in JSON and in a page that needs nothing else."""

import json
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from spillway.cli import Surroundings, main
from spillway_slo import memory
from spillway_slo.alerts import AlertBook
from spillway_slo.answer import answer
from spillway_slo.collect import Sample
from spillway_slo.evaluate import Evaluator
from spillway_slo.ledger import Ledger
from spillway_slo.loading import load
from spillway_slo.windows import TICK_S
from spillway_wire import names

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def command(*words: str) -> tuple[int, str, str]:
        out, err = StringIO(), StringIO()
        around = Surroundings(environment={}, folder=tmp_path, out=out, err=err)
        return main(["slo", *words], around), out.getvalue(), err.getvalue()

    return command


@pytest.fixture
def stands(tmp_path: Path) -> dict[str, Any]:
    """Two hours that end now, ten minutes of which failed; return what `/slo` said at their end."""
    evaluator, ledger, book = Evaluator(load("laptop")), Ledger(), AlertBook()
    steps, end = 480, time.time()
    good = failed = 0.0
    for step in range(steps + 1):
        now = end - (steps - step) * TICK_S
        fails = 300 <= step < 340
        good, failed = good + (2 if fails else 10), failed + (8 if fails else 0)
        labels = (("tier", "gold"), ("kind", "chat"))
        samples = [
            Sample(names.JUDGED_REQUESTS.exposed, (*labels, ("verdict", verdict)), None, count)
            for verdict, count in (("good", good), ("failed", failed))
        ]
        if evaluator.observe(now, samples):
            totals = {
                ("outcome", "gold", "engine_failed"): failed,
                ("verdict", "gold", "chat", "failed"): failed,
                ("tenant", "acme", "gold", "completed"): good,
                ("tenant", "acme", "gold", "engine_failed"): failed,
            }
            ledger.note(now, totals)
        book.update(evaluator.standings(), now)
    (tmp_path / memory.FILE_NAME).write_bytes(memory.dump(evaluator, ledger, book, scale="1", profile="laptop"))
    return answer(evaluator.standings(), book, at=end, profile="laptop", scale="1")


def row(report: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in report["objectives"] if each["name"] == name)
    return found


def test_it_says_what_was_attained_and_why_not(run: Run, stands: dict[str, Any], tmp_path: Path) -> None:
    status, out, err = run("report", "--state-dir", str(tmp_path), "--last", "3h", "--format", "json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    gold = row(report, "gold-availability")
    assert (gold["bad"], gold["total"]) == (320, 4800)
    assert gold["attained"] == pytest.approx(1 - 320 / 4800)
    assert gold["met"] is False
    assert row(report, "silver-availability")["attained"] is None
    live = row(stands, "gold-availability")
    assert gold["budget_left"] == pytest.approx(live["budget_left"], abs=1e-9)
    assert report["spent"][0]["tier"] == "gold"
    assert {each["what"] for each in report["spent"]} == {"failed", "failed or broken: engine_failed"}
    (tenant,) = report["tenants"]
    assert (tenant["tenant"], tenant["failed"]) == ("acme", 320)
    (incident,) = report["incidents"]
    assert "GoldAvailabilityPageQuick" in incident["alerts"]
    assert incident["severity"] == "page"
    assert 0 < incident["detect_s"] <= 60


def test_the_page_needs_nothing_else(run: Run, stands: dict[str, Any], tmp_path: Path) -> None:
    assert stands["objectives"]
    status, out, _ = run("report", "--state-dir", str(tmp_path), "--out", "report.html")
    assert (status, out) == (0, f"{tmp_path / 'report.html'}\n")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "gold-availability" in page
    assert "GoldAvailabilityPageQuick" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "prefers-color-scheme: dark" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--last", "1y"), "--last is '1y'; it must be a whole number and s, m, h, d or w"),
        (("--last", "1d", "--from", "2026-01-01"), "--last is given with --from or --to; give one or the other"),
        (("--from", "soon"), "--from is 'soon'; it must be a date"),
        (("--to", "2026-01-01"), "--to is given without --from"),
        (("--from", "2026-01-02", "--to", "2026-01-01"), "the period ends before it begins"),
        (("--every", "1d", "--from", "2026-01-01"), "--every is given with --from or --to"),
    ],
)
def test_a_wrong_period_is_told(run: Run, words: tuple[str, ...], said: str) -> None:
    status, _, err = run("report", *words)
    assert status == 2
    assert said in err


def test_without_memory_it_says_where_it_looked(run: Run, tmp_path: Path) -> None:
    status, _, err = run("report", "--state-dir", str(tmp_path / "none"))
    assert status == 1
    assert "name it with --state-dir" in err


def test_check_and_rules_work_on_a_file_of_ones_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: own}\nspec:\n  service: mine\n  indicatorRef: shed\n"
        "  timeWindow: [{duration: 30d, isRolling: true}]\n  budgetingMethod: Occurrences\n"
        "  objectives: [{target: 0.9}]\n  alertPolicies: [{alertPolicyRef: page-quick}]\n"
    )
    status, out, _ = run("check", "own.yaml")
    assert status == 1
    assert "error unreachable: own.yaml, document 1 (SLO own)" in out
    assert run("rules", "own.yaml", "--out", "made", "--scale", "1/60")[0] == 0
    rules = (tmp_path / "made" / "rules" / "own" / "own.yaml").read_text(encoding="utf-8")
    assert "[5s]" in rules
    assert "slo:sli_error:ratio_rate5m" in rules
    status, _, err = run("check", "nowhere.yaml")
    assert status == 2
    assert "there is no such file or folder" in err
