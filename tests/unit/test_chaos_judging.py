"""Evidence → findings: whatever breaks is found, and nothing else."""

from types import ModuleType
from typing import Any

import msgspec
import pytest

from spillway_chaos import drill as drills
from spillway_chaos.drill import AlertTerms
from spillway_chaos.judging.findings import NAMES, judge
from spillway_chaos.pages.picture import picture
from spillway_chaos.stage.load import Second


def broken(fake: ModuleType, terms: Any, **changes: Any) -> list[str]:
    return [finding.name for finding in judge(terms, fake.evidence(**changes)) if not finding.holds]


def test_an_undisturbed_run_breaks_nothing(fake_drill: ModuleType) -> None:
    findings = judge(fake_drill.terms_with(), fake_drill.evidence())
    assert [finding.name for finding in findings if not finding.holds] == []
    assert {"exact", "complete", "once", "detected", "recovered", "resumed", "traced", "alerts"} <= {
        finding.name for finding in findings
    }
    assert {finding.name for finding in findings} <= set(NAMES)


def test_without_a_loads_result_nothing_is_found(fake_drill: ModuleType) -> None:
    assert judge(fake_drill.terms_with(), fake_drill.evidence(load=None)) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"exactness": {"inexact": 1}}, "exact"),
        ({"exactness": {"checked": 0}}, "exact"),
        ({"fates": {"good": 79, "failed": 1}}, "complete"),
        ({"fates": {"good": 79, "unfinished": 1}}, "complete"),
        ({"shares": {"shed": {"value": 0.01, "of": 80}}}, "refused"),
        ({"pauses": {"longest_s": 1.6}}, "pause"),
    ],
    ids=["inexact", "unchecked", "failed", "unfinished", "refused", "pause"],
)
def test_what_clients_saw_is_found(fake_drill: ModuleType, changes: dict[str, Any], name: str) -> None:
    plain = msgspec.to_builtins(fake_drill.load_result())
    for key, value in changes.items():
        plain[key] = {**plain[key], **value} if key in {"exactness", "shares"} else value
    load = msgspec.convert(plain, type(fake_drill.load_result()))
    assert broken(fake_drill, fake_drill.terms_with(), load=load) == [name]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"conservation_gap": 1.0}, "once"),
        ({"recoveries": 0}, "resumed"),
        ({"owed": "+1 descriptors of gateway-0/1"}, "returned"),
        ({"exit_status": 1}, "ended"),
        ({"left_over": {"redis-server": 3}}, "ended"),
        ({"deviations": ("a successor is ready: it is not",)}, "method"),
        ({"unsteady": "ready: no"}, "steady"),
        ({"changes": ()}, "detected"),
    ],
    ids=["once", "resumed", "returned", "status", "left", "method", "steady", "detected"],
)
def test_what_the_platform_owes_is_found(fake_drill: ModuleType, changes: dict[str, Any], name: str) -> None:
    assert broken(fake_drill, fake_drill.terms_with(), **changes) == [name]


def test_late_detection_and_recovery_are_found(fake_drill: ModuleType) -> None:
    assert broken(fake_drill, fake_drill.terms_with(detected_within_s=0.02)) == ["detected"]
    assert broken(fake_drill, fake_drill.terms_with(recovered_within_s=2.9)) == ["recovered"]
    never = fake_drill.CHANGES[:3]
    assert broken(fake_drill, fake_drill.terms_with(), changes=never) == ["recovered"]


def test_goodput_and_first_tokens_are_held_against_their_limits(fake_drill: ModuleType) -> None:
    half = [Second(second, 8, 4 if 3 <= second <= 6 else 8, 0, 0) for second in range(10)]
    load = fake_drill.load_result(timeline=half)
    assert broken(fake_drill, fake_drill.terms_with(goodput_at_least=0.6, served_at_least=None), load=load) == [
        "goodput"
    ]
    assert broken(fake_drill, fake_drill.terms_with(goodput_at_least=0.5, served_at_least=None), load=load) == []
    assert broken(fake_drill, fake_drill.terms_with(served_at_least=0.6), load=load) == ["served"]
    assert broken(fake_drill, fake_drill.terms_with(first_token_within_s=0.03)) == ["first"]
    assert broken(fake_drill, fake_drill.terms_with(good_at_least=1.0, restarts_at_most=0)) == ["restarts"]


def test_outcomes_have_bounds_on_both_sides(fake_drill: ModuleType) -> None:
    for bounds, holds in (((80, 80), True), ((81, None), False), ((0, 79), False), ((1, None), True)):
        terms = fake_drill.terms_with(outcomes={"completed": bounds})
        assert (broken(fake_drill, terms) == []) is holds


def test_lost_traces_and_traces_without_attempts_are_found(fake_drill: ModuleType) -> None:
    whole = fake_drill.evidence().traces
    for change in ({"kept": 85}, {"dropped": 1}, {"recovered_with_attempts": 2}):
        assert broken(fake_drill, fake_drill.terms_with(), traces=msgspec.structs.replace(whole, **change)) == [
            "traced"
        ]


def test_pages_are_those_that_were_named_in_time_and_ended(fake_drill: ModuleType) -> None:
    def of(wanted: AlertTerms, **changes: Any) -> list[str]:
        terms = msgspec.structs.replace(fake_drill.terms_with(), alerts=wanted)
        return broken(fake_drill, terms, **changes)

    page = fake_drill.PAGE
    named = AlertTerms(fires=("availability",))
    assert of(AlertTerms(), alerts=(page,)) == ["alerts"]
    assert of(AlertTerms(tolerates=("availability",)), alerts=(page,)) == []
    assert of(AlertTerms(tolerates=("avail",)), alerts=(page,)) == ["alerts"], "a family is a whole word"
    assert of(named) == ["alerts"]
    assert of(named, alerts=(page,)) == []
    assert of(AlertTerms(fires=("availability",), within_s=0.4), alerts=(page,)) == ["alerts"]
    assert of(named, alerts=(page,), silent=False) == ["alerts"]
    ticket = msgspec.structs.replace(page, severity="ticket")
    assert of(AlertTerms(), alerts=(ticket,)) == []


def test_a_picture_shows_all_that_was_seen(fake_drill: ModuleType) -> None:
    kill = drills.load("engine-kill")
    seen = fake_drill.evidence(alerts=(fake_drill.PAGE,))
    drawn = picture(fake_drill.journal(kill, at=0.0, seen=seen))
    for wanted in ("engine-0", "engine-1", "page: availability", "GoldAvailabilityPageQuick", "second 9: 8 good"):
        assert wanted in drawn
    assert drawn.count('class="away"') == 1
    assert picture(fake_drill.journal(kill, at=0.0, problem="the generator lagged")) == ""
