"""Objectives from files: those that are shipped, and how mistakes are told."""

from fractions import Fraction
from pathlib import Path

import pytest

from spillway.configuration.checks import OBJECTIVES
from spillway.ops.objectives.choosing import AUTO
from spillway_slo import shipping
from spillway_slo.errors import SpecError
from spillway_slo.lint import lint
from spillway_slo.loading import PROFILES, load
from spillway_slo.objective import Floor, Objective, Slices, buckets_of, streams_of

SLO = Path(__file__).parents[2] / "slo"
GOOD = """
apiVersion: openslo/v1
kind: SLO
metadata:
  name: mine
  annotations: {spillway.dev/tier: gold, spillway.dev/expected-requests-per-hour: "100000"}
spec:
  service: spillway
  indicatorRef: availability
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.999}]
  alertPolicies: [{alertPolicyRef: page-quick}, {alertPolicyRef: ticket-slow}]
"""


def loaded(folder: Path, text: str) -> Objective:
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    return load(folder / "mine.yaml")[0]


def named(profile: str, name: str) -> Objective:
    return next(each for each in load(profile) if each.name == name)


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_shipped_has_nothing_to_mend(profile: str) -> None:
    assert [str(finding) for finding in lint(load(profile)) if finding.is_error] == []


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_generated_is_what_objectives_say(profile: str) -> None:
    found = shipping.files_of(load(profile), profile)
    there = {
        str(path.relative_to(SLO)): path.read_text(encoding="utf-8")
        for folder in ("rules", "promtests")
        for path in (SLO / folder / profile).iterdir()
    }
    assert sorted(there) == sorted(found)
    assert [name for name, text in found.items() if there[name] != text] == [], "run `spillway slo rules`"


def test_the_settings_know_the_names_that_are_shipped() -> None:
    assert (AUTO, *PROFILES) == OBJECTIVES


def test_gold_is_promised_what_its_table_says() -> None:
    assert named("standard", "gold-availability").target == Fraction("0.9999")
    limits = {
        name: (each.percentile.limit, each.target)
        for each in load("standard")
        if (name := each.name).startswith("gold-short-request") and each.percentile is not None
    }
    assert limits == {
        "gold-short-request-p50": (0.05, Fraction("0.5")),
        "gold-short-request-p95": (0.1, Fraction("0.95")),
        "gold-short-request-p99": (0.2, Fraction("0.99")),
    }
    minute, capacity = named("standard", "gold-availability-by-minute"), named("standard", "gold-capacity")
    assert isinstance(minute.indicator, Slices)
    assert minute.indicator.slice_s == 60
    assert isinstance(capacity.indicator, Slices)
    assert isinstance(capacity.indicator.rule, Floor)
    assert capacity.indicator.rule.rate == 1000


@pytest.mark.parametrize("profile", PROFILES)
def test_every_tier_has_every_promise_for_every_kind_of_call(profile: str) -> None:
    found = {(each.tier, each.family, each.kind) for each in load(profile)}
    families = (
        "availability",
        "shed",
        "time-to-first-token",
        "time-per-output-token",
        "stream-completion",
        "end-to-end",
    )
    for tier in ("gold", "silver", "bronze"):
        assert {(tier, family, "") for family in families} <= found
        for family in ("availability", "good-request"):
            assert {(tier, family, kind) for kind in ("", "chat", "completions", "generate", "batch")} <= found
        for family in ("time-to-first-token", "time-per-output-token"):
            assert {(tier, family, kind) for kind in ("", "chat", "text")} <= found


def test_a_kind_that_is_reported_is_judged_by_its_own_series_and_pages_nobody() -> None:
    chat, batch = named("laptop", "gold-ttft-chat"), named("laptop", "gold-availability-batch")
    assert chat.policies == batch.policies == ()
    assert chat.percentile is not None
    assert all(("gen_ai_operation_name", ("chat",)) in stream.labels for stream in streams_of(chat))
    assert all(stream in streams_of(chat) for stream in buckets_of(chat.percentile))
    assert ("gen_ai_operation_name", ("text_completion",)) in streams_of(named("laptop", "gold-tpot-text"))[0].labels
    assert ("kind", ("batch", "")) in streams_of(batch)[0].labels
    assert named("laptop", "gold-good-request-batch").policies != ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("openslo/v1", "openslo/v2", "apiVersion is 'openslo/v2'; it must be openslo/v1"),
        ("kind: SLO", "kind: SLOW", "kind is 'SLOW'; it must be one of: SLO, SLI"),
        ("name: mine", "name: My SLO", "metadata.name is 'My SLO'; it must be at most 63 small letters"),
        ("spillway.dev/tier", "spillway.dev/teir", "'spillway.dev/teir', which is no extension"),
        ("target: 0.999", "target: 99.9", "the target is 99.9; it must be above 0 and below 1"),
        ("target: 0.999", "targetPercent: 99.9, target: 0.999", "a target, or a targetPercent, and not both"),
        ("target: 0.999", "goal: 0.999", "spec.objectives[0]: Object contains unknown field `goal`"),
        ("target: 0.999", "target: high", "spec.objectives[0].target: Expected `float | null`, got `str`"),
        (
            "indicatorRef: availability",
            "indicatorRef: luck",
            "spec.indicatorRef is 'luck'; there is no SLI of this name",
        ),
        (
            "alertPolicyRef: page-quick",
            "alertPolicyRef: wake",
            "spec.alertPolicies names 'wake'; there are: page-quick",
        ),
        ("duration: 30d", "duration: 7d", "one rolling window of 30d"),
        ("duration: 30d", "duration: 30 days", "'30 days' is no duration"),
        ("Occurrences", "Guesswork", "spec.budgetingMethod is 'Guesswork'; use Occurrences or Timeslices"),
        ("Occurrences", "Timeslices", "spec.objectives[0].timeSliceTarget is missing"),
        ("indicatorRef: availability", "indicatorRef: short-request", "spec.objectives[0].value is missing"),
        ('per-hour: "100000"', 'per-hour: "many"', "expected-requests-per-hour is 'many'; it must be a number"),
        ("spec:", "spec: [", "mine.yaml: it is not valid YAML"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        loaded(tmp_path, GOOD.replace(old, new))
    assert said in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_a_metric_or_a_label_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    sli = """
apiVersion: openslo/v1
kind: SLI
metadata: {name: own}
spec:
  ratioMetric:
    bad: {metricSource: {spec: {metric: spillway_judged_requests, labels: {colour: red}}}}
    total: {metricSource: {spec: {metric: spillway_judged_requests}}}
---"""
    own = GOOD.replace("indicatorRef: availability", "indicatorRef: own")
    with pytest.raises(SpecError, match="has no label 'colour'; it has: tier, kind, verdict"):
        loaded(tmp_path, sli + own)
    with pytest.raises(SpecError, match="'spillway_luck' is no counter of the catalogue"):
        loaded(tmp_path, sli.replace("spillway_judged_requests, labels", "spillway_luck, labels") + own)


def findings(objective: Objective) -> dict[str, str]:
    return {finding.name: finding.message for finding in lint([objective])}


def test_lint_finds_thresholds_that_cannot_be_reached(tmp_path: Path) -> None:
    found = findings(loaded(tmp_path, GOOD.replace("0.999", "0.9")))
    assert "page-quick fires above an error ratio of 1.44, which there never is" in found["unreachable"]


def test_lint_finds_alerts_that_one_failure_trips(tmp_path: Path) -> None:
    quiet = GOOD.replace('"100000"', '"60"')
    assert "below 70 of them" in findings(loaded(tmp_path, quiet))["one-event-alerts"]
    guarded = quiet.replace("annotations: {", 'annotations: {spillway.dev/min-failures: "3", ')
    assert findings(loaded(tmp_path, guarded)) == {}


def test_lint_finds_limits_between_boundaries(tmp_path: Path) -> None:
    text = GOOD.replace("indicatorRef: availability", "indicatorRef: short-request")
    off = findings(loaded(tmp_path, text.replace("target: 0.999", "target: 0.99, value: 0.09")))
    assert "0.09 s is no boundary" in off["off-bucket"]
    on = findings(loaded(tmp_path, text.replace("target: 0.999", "target: 0.99, value: 0.1")))
    assert "off-bucket" not in on


def test_a_finding_can_be_accepted_with_its_reason(tmp_path: Path) -> None:
    text = GOOD.replace("0.999", "0.9").replace(
        "annotations: {", "annotations: {spillway.dev/accept.unreachable: why, "
    )
    (finding,) = [each for each in lint([loaded(tmp_path, text)]) if each.name == "unreachable"]
    assert (finding.accepted, finding.is_error) == ("why", False)
