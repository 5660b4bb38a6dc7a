"""Walks a drill through its phases, strictly: what `chaos` puts up with is an error here, and restoring always comes.

One call is one run, on a stage of its own. The method is carried out in order in this thread; a second one watches the
abort rule, and has the method end at its next pause or activity.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from spillway_chaos import calling, gathering, journal
from spillway_chaos.drill import Drill
from spillway_chaos.errors import AbortedError, ChaosError, FaultError, StageError
from spillway_chaos.experiment import Activity
from spillway_chaos.journal import Journal, Step
from spillway_chaos.judging.evidence import Evidence
from spillway_chaos.judging.findings import judge
from spillway_chaos.judging.goodput import goodput
from spillway_chaos.judging.times import detection_s, recovery_s
from spillway_chaos.judging.verdict import control_verdict_of, verdict_of
from spillway_chaos.phases import Event, Phase, after
from spillway_chaos.stage.receiver import PAGE
from spillway_chaos.stage.stage import MAIN, Stage

_WATCH_S: Final = 0.25
_FEWEST: Final = 10
"""Requests that must have been due before a share of them can abort a drill."""
Tell = Callable[[str], None]


class Run:
    """One run of one drill."""

    def __init__(self, drill: Drill, *, seed: int, control: bool, tell: Tell = lambda _: None) -> None:
        self._drill, self._seed, self._control, self._tell = drill, seed, control, tell
        self._phase = Phase.PREPARING
        self._begun = time.monotonic()
        self._phases: dict[str, float] = {}
        self._steps: list[Step] = []
        self._steady: dict[str, tuple[Step, ...]] = {}
        self._rollbacks: tuple[Step, ...] = ()
        self._problem = ""
        self._status = "completed"
        self._fault_ended_at: float | None = None
        self._deviations: list[str] = []
        self._unsteady = ""
        self._evidence: Evidence | None = None

    # ---- phases ----

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._phases[phase.value] = round(time.monotonic() - self._begun, 3)
        self._tell(phase.value)

    def _move(self, event: Event) -> None:
        self._enter(after(self._phase, event))

    def go(self) -> Journal:
        """Carry it out; whatever happens, faults are undone, and there is a journal."""
        started, machine = journal.now(), journal.environment()
        self._enter(Phase.PREPARING)
        terms = self._drill.terms
        flags = terms.control.flags if self._control and terms.control is not None else ()
        stage = Stage(terms, seed=self._seed, flags=flags)
        try:
            with stage:
                self._move(Event.SET)
                self._play(stage)
        except KeyboardInterrupt:
            self._fail("interrupted", "somebody interrupted it")
        except ChaosError as error:
            self._fail("failed", str(error))
        except Exception as error:  # noqa: BLE001 - a fault of the runner's own: nothing is shown, and that is told
            self._fail("failed", f"{type(error).__name__}: {error}")
        return self._journal(started, machine)

    def _play(self, stage: Stage) -> None:
        with self._noting():
            wrong = self._check("before")
            if wrong:
                raise StageError(f"the steady state is not met before the fault: {'; '.join(wrong)}")
            self._move(Event.STEADY)
            with _watched(stage, self._drill):
                self._method(stage)
            self._move(Event.DONE)
        if self._phase is not Phase.RESTORING:
            self._move(Event.BROKEN)
        with self._noting():
            self._rollbacks = tuple(self._carried_out(activity) for activity in self._drill.experiment.rollbacks)
        stage.restore()
        self._move(Event.DONE)
        with self._noting():
            if stage.result is None and MAIN in stage.loads:
                stage.loads[MAIN].stop()
            owed, silent, traces = gathering.settle(stage, alerts_within_s=self._drill.terms.alerts.clears_within_s)
            if not self._problem:
                self._unsteady = "; ".join(self._check("after"))
            self._move(Event.DONE)
            stage.end_platform()
            self._evidence = gathering.gather(
                stage,
                owed=owed,
                silent=silent,
                traces=traces,
                fault_ended_at=self._fault_ended_at,
                deviations=tuple(self._deviations),
                unsteady=self._unsteady,
            )

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        """Have an error noted, the first one as the problem, and go on: restoring and looking still have to be done."""
        try:
            yield
        except KeyboardInterrupt:
            self._fail("interrupted", "somebody interrupted it")
        except AbortedError as error:
            self._fail("aborted", str(error))
        except ChaosError as error:
            self._fail("failed", str(error))

    def _fail(self, status: str, problem: str) -> None:
        if not self._problem:
            self._status, self._problem = status, problem
            self._tell(f"{status}: {problem}")

    # ---- what is done ----

    def _check(self, when: str) -> list[str]:
        """Ask for the steady state; return what is wrong."""
        probes = self._drill.experiment.steady_state_hypothesis.probes
        found = tuple(self._carried_out(probe) for probe in probes)
        self._steady[when] = found
        return [f"{step.activity}: {step.problem}" for step in found if step.status != "succeeded"]

    def _method(self, stage: Stage) -> None:
        proofs = {fault.proof: fault.kind for fault in self._drill.terms.faults}
        ends = self._drill.terms.fault_ends or next(
            activity.name for activity in reversed(self._drill.experiment.method) if activity.name in proofs
        )
        for activity in self._drill.experiment.method:
            stage.pause(activity.pauses.before)
            self._tell(activity.name)
            step = self._carried_out(activity)
            self._steps.append(step)
            if step.status != "succeeded" and activity.name in proofs:
                raise FaultError(f"{proofs[activity.name]} did not take hold: {step.problem}")
            if step.status != "succeeded":
                stage.pause(0.0)  # raises if it was aborted
                if activity.type == "action":
                    raise FaultError(f"{activity.name}: {step.problem}")
                self._deviations.append(f"{activity.name}: {step.problem}")
            if activity.name == ends:
                self._fault_ended_at = time.monotonic()
            stage.pause(activity.pauses.after)

    def _carried_out(self, activity: Activity) -> Step:
        start = time.monotonic()
        output, problem = None, ""
        try:
            output = calling.call(activity)
        except AbortedError:
            raise
        except ChaosError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the drill has failed to do what it says
            problem = f"{type(error).__name__}: {error}"
        if not problem and not activity.tolerates(output):
            problem = output if isinstance(output, str) and output else f"it is {output!r}"
        return Step(
            activity=activity.name,
            kind=activity.type,
            status="failed" if problem else "succeeded",
            output=output,
            start=round(start - self._begun, 3),
            duration=round(time.monotonic() - start, 3),
            problem=problem,
        )

    # ---- what it came to ----

    def _journal(self, started: float, machine: journal.Environment) -> Journal:
        drill, terms, evidence = self._drill, self._drill.terms, self._evidence
        findings = tuple(judge(terms, evidence)) if evidence is not None else ()
        problem = self._problem
        if evidence is not None and evidence.load is not None and not evidence.load.valid:
            lag = evidence.load.lag
            problem = problem or f"the load's generator lagged: p99 {lag.p99_ms:.0f} ms, allowed {lag.limit_ms:.0f} ms"
        deviated = any(not finding.holds for finding in findings)
        verdict = verdict_of(findings, problem, aborted=self._status == "aborted")
        control = terms.control
        seen = control_verdict_of(verdict, findings, control.breaks) if self._control and control else None
        return Journal(
            drill=drill.name,
            title=drill.experiment.title,
            contributions=dict(drill.experiment.contributions),
            promise=terms.promise,
            faults=tuple(fault.kind for fault in terms.faults),
            seed=self._seed,
            is_control=self._control,
            turned_off=control.turns_off if self._control and control is not None else "",
            started=journal.iso(started),
            started_unix=started,
            seconds=round(time.monotonic() - self._begun, 3),
            status=self._status,
            deviated=deviated,
            verdict=verdict,
            control_verdict=seen,
            problem=problem,
            phases=self._phases,
            steady_states=self._steady,
            run=tuple(self._steps),
            rollbacks=self._rollbacks,
            findings=findings,
            goodput=_rates(evidence),
            detection_s=_detection(evidence),
            recovery_s=_recovery(evidence),
            alert_s=_alert(evidence, terms.alerts.fires),
            evidence=evidence,
            environment=machine,
        )


def _rates(evidence: Evidence | None) -> dict[str, float | None]:
    if evidence is None or evidence.load is None or evidence.struck_at is None:
        return {}
    found = goodput(evidence.load, evidence.struck_at, evidence.fault_ended_at)
    return {**msgspec.structs.asdict(found), "ratio": found.ratio}


def _detection(evidence: Evidence | None) -> float | None:
    if evidence is None:
        return None
    seen = [detection_s(evidence.changes, strike) for strike in evidence.strikes if strike.pid is not None]
    known = [each for each in seen if each is not None]
    return max(known) if known and len(known) == len(seen) else None


def _recovery(evidence: Evidence | None) -> float | None:
    if evidence is None or evidence.struck_at is None:
        return None
    return recovery_s(evidence.changes, evidence.struck_at)


def _alert(evidence: Evidence | None, fires: tuple[str, ...]) -> float | None:
    if evidence is None or not evidence.strikes or not fires:
        return None
    pages = [alert.began for alert in evidence.alerts if alert.severity == PAGE and alert.family in fires]
    return min(pages) - min(strike.at_unix for strike in evidence.strikes) if pages else None


@contextlib.contextmanager
def _watched(stage: Stage, drill: Drill) -> Iterator[None]:
    """Abort the method when its rule says so."""
    rule, over, begun = drill.terms.abort, threading.Event(), time.monotonic()

    def watch() -> None:
        while not over.wait(_WATCH_S):
            if time.monotonic() - begun > rule.longest_s:
                stage.abort(f"the method took longer than {rule.longest_s:g} s")
            load = stage.loads.get(MAIN)
            told = None if load is None else load.told
            if told is not None and told.due >= _FEWEST and told.failed / told.due > rule.failed_share:
                stage.abort(f"{told.failed} of {told.due} requests have failed; at most {rule.failed_share:.0%} may")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
