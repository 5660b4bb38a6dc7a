"""The control by which `chaos run DRILL` has a stage, and is told what we found: for people who have Chaos Toolkit.

It sets the stage before the experiment, stamps the fault's end, gathers and judges after it, writes the verdict into
Chaos Toolkit's journal under `spillway`, and has the experiment end as deviated if anything did not hold. The strict
way is `spillway chaos run`: this one cannot mend all exit statuses of `chaos`, only those that it is asked about.
"""

import time
from typing import Any

import msgspec

from spillway_chaos import gathering
from spillway_chaos.drill import NAME, Terms
from spillway_chaos.judging.findings import judge
from spillway_chaos.judging.verdict import Verdict, verdict_of
from spillway_chaos.stage.stage import Stage, current

_FAILED = "failed"


def before_experiment_control(context: dict[str, Any], **_: Any) -> None:
    """Set the stage."""
    ours = next(table for table in context["extensions"] if table.get("name") == NAME)
    Stage(msgspec.convert(ours, Terms)).__enter__()


def after_activity_control(context: dict[str, Any], state: dict[str, Any], **_: Any) -> None:
    """Stamp the end of the fault."""
    stage = current()
    proofs = [fault.proof for fault in stage.terms.faults]
    if context["name"] == (stage.terms.fault_ends or proofs[-1]):
        stage.notes["fault_ended_at"] = time.monotonic()
    is_wrong = state.get("status") == _FAILED or state.get("tolerance_met") is False
    if is_wrong and context["name"] in proofs:
        stage.notes["unproven"] = f"{context['name']}: {state.get('output')}"


def after_experiment_control(context: dict[str, Any], state: dict[str, Any], **_: Any) -> None:
    """Judge, and clear away."""
    stage = current()
    try:
        stage.restore()
        owed, silent, traces = gathering.settle(stage, alerts_within_s=stage.terms.alerts.clears_within_s)
        stage.end_platform()
        evidence = gathering.gather(
            stage,
            owed=owed,
            silent=silent,
            traces=traces,
            fault_ended_at=stage.notes.get("fault_ended_at"),
            deviations=(),
            unsteady="",
        )
    finally:
        stage.__exit__()
    findings = judge(stage.terms, evidence)
    problem = _problem(stage, state)
    verdict = verdict_of(findings, problem, aborted=False)
    said = {"verdict": verdict, "problem": problem, "findings": findings, "evidence": evidence}
    state[NAME] = msgspec.to_builtins(said)
    if verdict is not Verdict.PASSED:
        state["deviated"] = True
        state["status"] = _FAILED if verdict is Verdict.INVALID else state["status"]


def _problem(stage: Stage, state: dict[str, Any]) -> str:
    failed = [run["activity"]["name"] for run in state.get("run", ()) if run.get("status") == _FAILED]
    if stage.notes.get("unproven"):
        return f"the fault did not take hold: {stage.notes['unproven']}"
    if failed:
        return f"failed: {', '.join(failed)}"
    if not (state.get("steady_states") or {}).get("before", {}).get("steady_state_met"):
        return "the steady state is not met before the fault"
    return ""
