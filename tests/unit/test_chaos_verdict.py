"""Phases as a table, verdicts, and exit statuses that can be trusted."""

import itertools

import pytest

from spillway_chaos.judging.findings import Finding
from spillway_chaos.judging.verdict import ControlVerdict, Told, Verdict, control_verdict_of, exit_status, verdict_of
from spillway_chaos.phases import NEXT, Event, IllegalEventError, Phase, after


@pytest.mark.parametrize(("phase", "event"), list(itertools.product(Phase, Event)), ids=str)
def test_a_step_is_in_the_table_or_raises(phase: Phase, event: Event) -> None:
    if (phase, event) in NEXT:
        assert after(phase, event) is NEXT[phase, event]
    else:
        with pytest.raises(IllegalEventError, match=f"{event} cannot happen while {phase}"):
            after(phase, event)


def test_what_may_have_broken_something_is_followed_by_restoring() -> None:
    for phase in (Phase.PREPARING, Phase.BEFORE, Phase.STRIKING):
        assert after(phase, Event.BROKEN) is Phase.RESTORING
    assert {phase for (before, _), phase in NEXT.items() if before is Phase.STRIKING} == {Phase.RESTORING}


def test_every_phase_leads_to_the_end() -> None:
    for phase in Phase:
        seen, left = {phase}, [phase]
        while left:
            here = left.pop()
            for (before, _), then in NEXT.items():
                if before is here and then not in seen:
                    seen.add(then)
                    left.append(then)
        assert Phase.ENDED in seen


def finding(name: str, *, holds: bool) -> Finding:
    return Finding(name=name, holds=holds, measured="", wanted="")


GOOD, BAD = finding("complete", holds=True), finding("complete", holds=False)


def test_a_verdict_needs_findings_that_all_hold_and_no_problem() -> None:
    assert verdict_of([GOOD], "", aborted=False) is Verdict.PASSED
    assert verdict_of([GOOD, BAD], "", aborted=False) is Verdict.FAILED
    assert verdict_of([], "", aborted=False) is Verdict.INVALID
    assert verdict_of([GOOD], "the generator lagged", aborted=False) is Verdict.INVALID
    assert verdict_of([BAD], "too many failed", aborted=True) is Verdict.ABORTED


@pytest.mark.parametrize(
    ("verdict", "findings", "breaks", "wanted"),
    [
        (Verdict.FAILED, [BAD], ["complete"], ControlVerdict.RED),
        (Verdict.FAILED, [BAD], ["complete", "exact"], ControlVerdict.BLIND),
        (Verdict.FAILED, [BAD], ["exact"], ControlVerdict.BLIND),
        (Verdict.PASSED, [GOOD], ["complete"], ControlVerdict.BLIND),
        (Verdict.INVALID, [], ["complete"], ControlVerdict.INVALID),
        (Verdict.ABORTED, [], ["complete"], ControlVerdict.RED),
    ],
    ids=["red", "only half", "another reason", "green", "nothing shown", "aborted"],
)
def test_a_control_is_red_for_the_reason_that_was_named(
    verdict: Verdict, findings: list[Finding], breaks: list[str], wanted: ControlVerdict
) -> None:
    assert control_verdict_of(verdict, findings, breaks) is wanted


@pytest.mark.parametrize(
    ("verdicts", "controls", "status"),
    [
        ((Verdict.PASSED,), (), 0),
        ((Verdict.PASSED,), (ControlVerdict.RED,), 0),
        ((Verdict.PASSED, Verdict.FAILED), (ControlVerdict.RED,), 1),
        ((Verdict.FAILED, Verdict.INVALID), (ControlVerdict.BLIND,), 1),
        ((Verdict.INVALID,), (), 3),
        ((Verdict.ABORTED,), (), 3),
        ((Verdict.PASSED,), (ControlVerdict.INVALID,), 3),
        ((Verdict.PASSED,), (ControlVerdict.BLIND,), 4),
        ((), (), 3),
    ],
    ids=[
        "held",
        "and red",
        "broken",
        "broken first",
        "not shown",
        "aborted",
        "control not shown",
        "blind",
        "nothing ran",
    ],
)
def test_zero_says_that_everything_was_shown(
    verdicts: tuple[Verdict, ...], controls: tuple[ControlVerdict, ...], status: int
) -> None:
    assert exit_status(Told(verdicts, controls)) == status
