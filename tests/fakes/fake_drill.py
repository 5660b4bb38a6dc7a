"""Evidence and journals of drills that never ran."""

from typing import Any

import msgspec

from spillway_chaos import drill as drills
from spillway_chaos.drill import Drill, Terms
from spillway_chaos.journal import Environment, Journal
from spillway_chaos.judging.evidence import Evidence, Traces
from spillway_chaos.judging.findings import judge
from spillway_chaos.judging.verdict import ControlVerdict, Verdict, control_verdict_of, verdict_of
from spillway_chaos.stage.load import Exactness, Lag, Latency, LoadResult, Pauses, Rate, Second
from spillway_chaos.stage.receiver import Alert
from spillway_chaos.stage.recorder import Change
from spillway_chaos.stage.stage import Strike

START = 100.0
"""Of the load, on the monotonic clock; the wall clock is 1000 s ahead."""
AHEAD = 1000.0
STRUCK = START + 3.5


def load_result(**changes: Any) -> LoadResult:
    """Ten seconds of eight good requests each."""
    result = LoadResult(
        version=1,
        campaign="steady",
        started_monotonic=START,
        started_unix=START + AHEAD,
        seconds=10.0,
        arrivals=80,
        attempts=80,
        fates={"good": 80, "failed": 0, "unfinished": 0},
        outcomes={"completed": 80},
        exactness=Exactness(checked=80, inexact=0, mistakes=0, examples=[]),
        shares={"good": Rate(1.0, 80), "shed": Rate(0.0, 80)},
        latency=[Latency(measure="ttft", tier="all", of="served", max=40.0, unit="ms")],
        timeline=[Second(second, 8, 8, 0, 0) for second in range(10)],
        pauses=Pauses(longest_s=0.05),
        lag=Lag(p99_ms=1.0, limit_ms=250.0),
        valid=True,
    )
    return msgspec.structs.replace(result, **changes)


def change(at: float, state: str, incarnation: int = 1, id_: str = "engine-0", exited: float | None = None) -> Change:
    cause = "" if exited is None else "signal"
    return Change(at=at, id=id_, state=state, incarnation=incarnation, exited_at=exited, cause=cause)


CHANGES = (
    change(START - 1, "ready"),
    change(START - 1, "ready", id_="engine-1"),
    change(STRUCK + 0.1, "spawning", 2, exited=STRUCK + AHEAD + 0.03),
    change(STRUCK + 3.0, "ready", 2, exited=STRUCK + AHEAD + 0.03),
)
STRIKE = Strike(
    what="SIGKILL", kind="engine", id="engine-0", pid=7, born=1.0, incarnation=1, at=STRUCK, at_unix=STRUCK + AHEAD
)
PAGE = Alert(
    name="GoldAvailabilityPageQuick",
    family="availability",
    tier="gold",
    severity="page",
    began=STRUCK + AHEAD + 0.5,
    ended=STRUCK + AHEAD + 3.0,
    heard_s=0.01,
)


def evidence(**changes: Any) -> Evidence:
    """Of an engine that was killed, and nobody noticed."""
    found = Evidence(
        strikes=(STRIKE,),
        fault_ended_at=STRUCK + 3.0,
        load=load_result(),
        changes=CHANGES,
        alerts=(),
        load_ended_unix=START + AHEAD + 10,
        silent=True,
        outcomes={"completed": 80},
        recoveries=3,
        conservation_gap=0.0,
        traces=Traces(expected=86, kept=86, dropped=0, recovered=3, recovered_with_attempts=3),
        owed="",
        exit_status=0,
        left_over={},
        restarts=1,
        judged={"good": 80},
    )
    return msgspec.structs.replace(found, **changes)


def terms_with(name: str = "engine-kill", **expect: Any) -> Terms:
    """Those of a shipped drill, with other expectations."""
    terms = drills.load(name).terms
    return msgspec.structs.replace(terms, expect=msgspec.structs.replace(terms.expect, **expect))


def journal(
    drill: Drill,
    *,
    at: float,
    control: bool = False,
    seen: Evidence | None = None,
    problem: str = "",
    seconds: float = 20.0,
) -> Journal:
    """Of a run at a time."""
    seen = evidence() if seen is None else seen
    findings = () if problem else tuple(judge(drill.terms, seen))
    verdict: Verdict = verdict_of(findings, problem, aborted=False)
    terms = drill.terms.control
    told: ControlVerdict | None = control_verdict_of(verdict, findings, terms.breaks) if control and terms else None
    return Journal(
        drill=drill.name,
        title=drill.experiment.title,
        contributions=dict(drill.experiment.contributions),
        promise=drill.terms.promise,
        faults=tuple(fault.kind for fault in drill.terms.faults),
        seed=1,
        is_control=control,
        started="",
        started_unix=at,
        seconds=seconds,
        status="completed",
        deviated=verdict is Verdict.FAILED,
        verdict=verdict,
        control_verdict=told,
        problem=problem,
        phases={"preparing": 0.0, "striking": 8.0},
        steady_states={},
        run=(),
        rollbacks=(),
        findings=findings,
        goodput={"ratio": 1.0},
        detection_s=0.03,
        recovery_s=3.0,
        evidence=None if problem else seen,
        environment=Environment(node="n", platform="p", cores=2, load=(0.0, 0.0, 0.0)),
    )
