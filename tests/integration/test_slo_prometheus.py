"""A real Prometheus and ops' own evaluation, on the same samples: the same ratios, percentiles and alerts."""

import math
import random
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from spillway_slo import rules
from spillway_slo.collect import Sample
from spillway_slo.evaluate import Evaluator, Standing
from spillway_slo.loading import PROFILES, load
from spillway_slo.objective import Objective
from spillway_slo.windows import FINE_S, MARK_S, MINUTE, RECORDED, TICK_S
from spillway_wire import names

SLO = Path(__file__).parents[2] / "slo"
SHORT = names.SHORT_REQUEST_DURATION
VERDICTS = ("good", "slow", "broken", "failed", "left", "shed", "excluded")
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here")

Key = tuple[str, tuple[tuple[str, str], ...], float | None]


class Traffic:
    """Counters as a platform makes them: quiet and bad stretches, a restart that resets all, late series."""

    def __init__(self, seed: int, steps: int) -> None:
        self.random, self.steps = random.Random(seed), steps
        self.values: dict[Key, list[float | None]] = {}
        for step in range(steps):
            self._step(step)

    def _step(self, step: int) -> None:
        part = step / self.steps
        restarted = step == self.steps * 2 // 3
        rate = 0 if 0.3 < part < 0.35 else self.random.randint(5, 40)
        trouble = 0.4 if 0.5 < part < 0.6 else 0.3 if part > 0.95 else 0.001
        for kind in ("chat", "generate"):
            bad = sum(self.random.random() < trouble for _ in range(rate))
            for verdict in VERDICTS:
                if verdict == "left" and step < self.steps // 5:
                    continue  # a series that comes late
                grown = rate - bad if verdict == "good" else bad // 3
                labels = (("tier", "gold"), ("kind", kind), ("verdict", verdict))
                self._grow((names.JUDGED_REQUESTS.exposed, labels, None), step, grown, anew=restarted)
        took = [min(self.random.expovariate(4 if trouble < 0.2 else 0.8), 20.0) for _ in range(rate)]
        for bound in (*SHORT.buckets, math.inf):
            below = sum(each <= bound for each in took)
            self._grow((SHORT.name + "_bucket", (("tier", "gold"),), bound), step, below, anew=restarted)
        self._grow((SHORT.name + "_count", (("tier", "gold"),), None), step, len(took), anew=restarted)

    def _grow(self, key: Key, step: int, grown: float, *, anew: bool) -> None:
        values = self.values.setdefault(key, [None] * step)
        before = values[-1] if values and values[-1] is not None and not anew else 0.0
        values.append(before + grown)

    def at(self, step: int) -> list[Sample]:
        return [Sample(*key, value) for key, values in self.values.items() if (value := values[step]) is not None]

    def inputs(self) -> list[dict[str, str]]:
        return [
            {
                "series": written(key),
                "values": " ".join("_" if value is None else f"{value:g}" for value in values),
            }
            for key, values in self.values.items()
        ]


def promtool(what: str, files: Sequence[Path]) -> subprocess.CompletedProcess[str]:
    command = ["promtool", what, "rules", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def written(key: Key) -> str:
    metric, labels, le = key
    inside = [f'{name}="{value}"' for name, value in labels]
    inside += [] if le is None else [f'le="{"+Inf" if math.isinf(le) else repr(le)}"']
    return f"{metric}{{{', '.join(inside)}}}"


def questions(standing: Standing, at: int) -> list[tuple[str, float]]:
    """What Prometheus must answer: each with 1, or with the number beside it.

    A window that reaches beyond the first sample Prometheus extrapolates, each series by itself: there it is only near.
    """
    own = f'{{sloth_slo="{standing.objective.name}"}}'
    found = []
    for window in RECORDED:
        ratio, name = standing.counted[window].ratio, f"slo:sli_error:ratio_rate{window}{own}"
        near = 1e-9 if RECORDED[window] <= at or RECORDED[window] > FINE_S else 0.02
        known = f"sum(abs({name} - {ratio!r}) < bool {near})"
        found.append((f"count({name} >= 0) or vector(0)", 0.0) if ratio is None else (known, 1.0))
    if standing.percentile_s is not None:
        found.append((f"sum(abs(slo:percentile:seconds{own} - {standing.percentile_s!r}) < bool 1e-9)", 1.0))
    for alert, burns in standing.burning.items():
        found.append((f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)', float(burns)))
    if standing.counted["30d"].ratio is not None:
        left = f"slo:period_error_budget_remaining:ratio{own}"
        found.append((f"sum(abs({left} - ({standing.budget_left!r})) < bool 1e-9)", 1.0))
    return found


def compare(objectives: Sequence[Objective], every_s: int, steps: int, looks: Sequence[int], folder: Path) -> set[str]:
    """Ask promtool at every look; return the names of alerts that fired at any."""
    traffic, evaluator = Traffic(7, steps), Evaluator(objectives)
    asked, fired = [], set()
    for step in range(steps):
        evaluator.observe(step * TICK_S, traffic.at(step))
        if step * TICK_S in looks:
            for standing in evaluator.standings():
                fired |= {name for name, burns in standing.burning.items() if burns}
                asked += [(step * TICK_S, expr, value) for expr, value in questions(standing, step * TICK_S)]
    (folder / "rules.yaml").write_text(rules.document(objectives))
    test = {
        "interval": f"{TICK_S}s",
        "input_series": traffic.inputs(),
        "promql_expr_test": [
            {"expr": expr, "eval_time": f"{at // MINUTE}m", "exp_samples": [{"labels": "{}", "value": value}]}
            for at, expr, value in asked
        ],
    }
    order = [group["name"] for objective in objectives for group in rules.groups_of(objective)]
    content = {"rule_files": ["rules.yaml"], "evaluation_interval": f"{every_s}s", "group_eval_order": order}
    (folder / "test.yaml").write_text(yaml.safe_dump(content | {"tests": [test]}))
    done = promtool("test", [folder / "test.yaml"])
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert len(asked) > len(looks) * len(objectives) * 8
    return fired


@needs_promtool
def test_objectives_by_request_are_judged_as_prometheus_judges_them(tmp_path: Path) -> None:
    wanted = {"gold-availability", "gold-shed", "gold-good-request-chat", "gold-short-request-p95"}
    objectives = [replace(each, min_failures=3) for each in load("standard") if each.name in wanted]
    looks = [10 * MINUTE, 65 * MINUTE, 5 * 60 * MINUTE, 6 * 60 * MINUTE, 9 * 60 * MINUTE, 10 * 60 * MINUTE - MARK_S]
    fired = compare(objectives, MARK_S, 10 * 60 * MINUTE // TICK_S, looks, tmp_path)
    assert {"GoldAvailabilityPageQuick", "GoldShortRequestP95NearLimit"} <= fired


@needs_promtool
def test_objectives_by_time_are_judged_as_prometheus_judges_them(tmp_path: Path) -> None:
    objectives = [each for each in load("laptop") if each.is_by_time]
    looks = [10 * MINUTE, 70 * MINUTE, 110 * MINUTE, 2 * 60 * MINUTE, 180 * MINUTE, 239 * MINUTE]
    fired = compare(objectives, MINUTE, 4 * 60 * MINUTE // TICK_S, looks, tmp_path)
    assert "GoldAvailabilityByMinutePageQuick" in fired


@needs_promtool
@pytest.mark.parametrize("profile", PROFILES)
def test_promtool_finds_no_fault_with_the_rules(profile: str) -> None:
    done = promtool("check", sorted((SLO / "rules" / profile).glob("*.yaml")))
    assert done.returncode == 0, done.stderr


@needs_promtool
@pytest.mark.parametrize("tier", ["gold", "silver", "bronze"])
@pytest.mark.parametrize("profile", PROFILES)
def test_every_alert_fires_when_it_should_and_clears(profile: str, tier: str) -> None:
    files = sorted((SLO / "promtests" / profile).glob(f"{tier}-*.yaml"))
    assert files
    done = promtool("test", files)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
