"""What is expected, one by one, held against the evidence.

=================  =================================================================================================
finding            it holds if
=================  =================================================================================================
`exact`            every answer that came whole says what the undisturbed one would
`complete`         no more requests than allowed ended in an error, or never
`refused`          no larger share than allowed was refused
`good`             as large a share as wanted came whole, exact and in time
`once`             every request that arrived had exactly one outcome, by the platform's own account
`outcomes`         as many as wanted ended in the outcomes that were named
`goodput`          good answers a second during the fault, as a part of those before
`served`           good answers during the fault, of those due then
`pause`            no stream stood still for longer
`detected`         every blow to a process was seen in time
`recovered`        all places were ready again in time
`first`            no answer let wait longer for its first token
`restarts`         no more engines were started again
`resumed`          requests went on on another engine: else the blow fell beside them
`traced`           every request has its trace, and a recovered one shows its attempts
`alerts`           the pages that were named fired, in time; they ended; no other did
`returned`         all that was held was given back
`ended`            the platform ended in good order, and left no process
`method`           probes of the method that prove no fault say what they should
`steady`           the steady state is met again after the fault
=================  =================================================================================================
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from spillway_chaos.drill import AlertTerms, Expectations, Terms
from spillway_chaos.judging.evidence import Evidence
from spillway_chaos.judging.goodput import goodput
from spillway_chaos.judging.times import detection_s, recovery_s
from spillway_chaos.stage.load import LoadResult
from spillway_chaos.stage.receiver import PAGE, Alert

_BAD_FATES: Final = ("failed", "unfinished")
NAMES: Final = (
    *("exact", "complete", "refused", "good", "once", "outcomes", "goodput", "served", "pause", "detected"),
    *("recovered", "first", "restarts", "resumed", "traced", "alerts", "returned", "ended", "method", "steady"),
)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One expectation, and what was measured."""

    name: str
    holds: bool
    measured: str
    wanted: str


def judge(terms: Terms, evidence: Evidence) -> list[Finding]:
    """Return a finding for everything that is expected; without a load's result there is none."""
    if evidence.load is None:
        return []
    expect = terms.expect
    return [
        *_answers(expect, evidence, evidence.load),
        *_speed(expect, evidence, evidence.load),
        *_places(terms, evidence),
        *_signals(terms, evidence),
        _finding("returned", not evidence.owed, evidence.owed or "all", "all that was held is given back"),
        *_ending(expect, evidence),
        _finding("method", not evidence.deviations, "; ".join(evidence.deviations) or "as it should", "as it should"),
        _finding("steady", not evidence.unsteady, evidence.unsteady or "as before", "as before"),
    ]


def _finding(name: str, holds: bool, measured: str, wanted: str) -> Finding:
    return Finding(name=name, holds=holds, measured=measured, wanted=wanted)


def _answers(expect: Expectations, evidence: Evidence, load: LoadResult) -> Iterator[Finding]:
    exactness = load.exactness
    said = f"{exactness.checked - exactness.inexact} of {exactness.checked} exact"
    yield _finding("exact", exactness.inexact == 0 and exactness.checked > 0, said, "all exact")
    bad = sum(load.fates.get(fate, 0) for fate in _BAD_FATES)
    yield _finding("complete", bad <= expect.failed_at_most, f"{bad} failed", f"at most {expect.failed_at_most}")
    shed = _share(load, "shed")
    yield _finding(
        "refused", shed <= expect.refused_at_most, f"{shed:.1%} refused", f"at most {expect.refused_at_most:.1%}"
    )
    if expect.good_at_least is not None:
        good = _share(load, "good")
        yield _finding("good", good >= expect.good_at_least, f"{good:.1%} good", f"at least {expect.good_at_least:.1%}")
    gap = evidence.conservation_gap
    yield _finding("once", gap == 0, f"{gap:g} requests without an outcome, or with two", "none")
    if expect.outcomes:
        wrong = []
        for name, (low, high) in expect.outcomes.items():
            count = evidence.outcomes.get(name, 0)
            if count < low or (high is not None and count > high):
                wrong.append(name)
        measured = ", ".join(f"{name} {evidence.outcomes.get(name, 0)}" for name in expect.outcomes)
        wanted = ", ".join(f"{name} {_span(*bounds)}" for name, bounds in expect.outcomes.items())
        yield _finding("outcomes", not wrong, measured, wanted)


def _share(load: LoadResult, name: str) -> float:
    return load.shares[name].value or 0.0 if name in load.shares else 0.0


def _span(low: int, high: int | None) -> str:
    if high is None:
        return f"at least {low}"
    return f"{low}" if low == high else f"{low} to {high}"


def _speed(expect: Expectations, evidence: Evidence, load: LoadResult) -> Iterator[Finding]:
    if evidence.struck_at is None:
        return
    rates = goodput(load, evidence.struck_at, evidence.fault_ended_at)
    if expect.goodput_at_least is not None:
        ratio = rates.ratio
        measured = f"{rates.during or 0:.1f}/s of {rates.before or 0:.1f}/s before" + (
            f", {ratio:.0%}" if ratio else ""
        )
        holds = ratio is not None and ratio >= expect.goodput_at_least
        yield _finding("goodput", holds, measured, f"at least {expect.goodput_at_least:.0%}")
    if expect.served_at_least is not None:
        served = rates.served_during
        holds = served is not None and served >= expect.served_at_least
        measured = "nothing was due" if served is None else f"{served:.0%} of what was due"
        yield _finding("served", holds, measured, f"at least {expect.served_at_least:.0%}")
    if expect.pause_at_most_s is not None:
        longest = load.pauses.longest_s
        limit = expect.pause_at_most_s
        yield _finding("pause", longest <= limit, f"{longest * 1e3:.0f} ms", f"at most {limit * 1e3:.0f} ms")
    if expect.first_token_within_s is not None:
        slowest, limit = load.slowest_first_token_s, expect.first_token_within_s
        holds = slowest is not None and slowest <= limit
        measured = "none came" if slowest is None else f"{slowest * 1e3:.0f} ms"
        yield _finding("first", holds, measured, f"within {limit * 1e3:.0f} ms")


def _places(terms: Terms, evidence: Evidence) -> Iterator[Finding]:
    expect = terms.expect
    if expect.detected_within_s is not None:
        seen = [detection_s(evidence.changes, strike) for strike in evidence.strikes if strike.pid is not None]
        known = [each for each in seen if each is not None]
        holds = len(known) == len(seen) > 0 and max(known) <= expect.detected_within_s
        measured = "never" if len(known) < len(seen) or not seen else f"{max(known) * 1e3:.0f} ms"
        yield _finding("detected", holds, measured, f"within {expect.detected_within_s * 1e3:.0f} ms")
    if expect.recovered_within_s is not None and evidence.struck_at is not None:
        took = recovery_s(evidence.changes, evidence.struck_at)
        holds = took is not None and took <= expect.recovered_within_s
        measured = "never" if took is None else f"{took:.2f} s"
        yield _finding("recovered", holds, measured, f"within {expect.recovered_within_s:g} s")
    if expect.restarts_at_most is not None:
        most = expect.restarts_at_most
        yield _finding("restarts", evidence.restarts <= most, f"{evidence.restarts}", f"at most {most}")
    if expect.recoveries_at_least:
        count = evidence.recoveries
        yield _finding(
            "resumed", count >= expect.recoveries_at_least, f"{count}", f"at least {expect.recoveries_at_least}"
        )


def _signals(terms: Terms, evidence: Evidence) -> Iterator[Finding]:
    traces = evidence.traces
    if traces is not None:
        lost = max(0, traces.expected - traces.kept) + traces.dropped
        holds = lost <= terms.expect.traces_lost_at_most and traces.recovered == traces.recovered_with_attempts
        measured = f"{lost} of {traces.expected} without a trace; "
        measured += f"{traces.recovered_with_attempts} of {traces.recovered} recovered ones show their attempts"
        yield _finding("traced", holds, measured, f"at most {terms.expect.traces_lost_at_most}; all")
    wrong = "; ".join(_wrong_alerts(terms.alerts, evidence))
    fired = sorted({alert.family for alert in evidence.alerts if alert.severity == PAGE})
    wanted = ", ".join(terms.alerts.fires) or "no page"
    yield _finding("alerts", not wrong, wrong or (", ".join(fired) or "no page"), f"{wanted}, and ended")


def _wrong_alerts(terms: AlertTerms, evidence: Evidence) -> Iterator[str]:
    pages = [alert for alert in evidence.alerts if alert.severity == PAGE]
    struck = min((strike.at_unix for strike in evidence.strikes), default=None)
    for family in terms.fires:
        found = [alert for alert in pages if _is_of(alert, family)]
        if not found:
            yield f"no page of {family}"
        elif struck is not None and min(alert.began for alert in found) - struck > terms.within_s:
            yield f"the page of {family} came after {min(alert.began for alert in found) - struck:.1f} s"
    known = (*terms.fires, *terms.tolerates)
    for family in sorted({alert.family for alert in pages if not any(_is_of(alert, name) for name in known)}):
        yield f"a page of {family} that nobody expected"
    if not evidence.silent:
        yield "a page that did not end"


def _is_of(alert: Alert, family: str) -> bool:
    return alert.family == family or alert.family.startswith(f"{family}-")


def _ending(expect: Expectations, evidence: Evidence) -> Iterator[Finding]:
    status = evidence.exit_status
    right = expect.exits_with is None or status == expect.exits_with
    left = ", ".join(evidence.left_over)
    measured = f"status {status}" + (f"; left: {left}" if left else "")
    wanted = "no process left" if expect.exits_with is None else f"status {expect.exits_with}, no process left"
    yield _finding("ended", right and not left, measured, wanted)
