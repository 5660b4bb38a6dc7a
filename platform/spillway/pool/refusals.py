"""How requests end that do not complete: each refusal in one place, with its limit, measured value and advice."""

from spillway.pool.contract import Refused
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import PhaseKind


def shutting_down() -> Refused:
    """This gateway ends."""
    return Refused(
        Outcome.DRAINING,
        "this gateway is shutting down",
        limit=f"phase={PhaseKind.SERVING}",
        measured=f"phase={PhaseKind.ENDING}",
    )


def unknown_model(model: str) -> Refused:
    """Nobody serves a model of that name."""
    return Refused(Outcome.UNKNOWN_MODEL, f"no model is served under the name {model!r}")


def hopeless(model: str, retry_s: float | None) -> Refused:
    """The model has no engine, and none is on its way; one that was given up is tried again after `retry_s`, if any."""
    when = "none is on its way" if retry_s is None else f"one is tried again after at most {retry_s:g} s"
    return Refused(
        Outcome.NO_ENGINE,
        f"no engine serves model {model!r}, and {when}",
        retry_after_s=retry_s,
        measured="0 ready engines",
    )


def no_engine(model: str, waited_s: float, bounds_s: tuple[float, float]) -> Refused:
    """No engine came back in time; the next wait may go better."""
    least, most = bounds_s
    return Refused(
        Outcome.NO_ENGINE,
        f"no engine for model {model!r} has become ready within {waited_s:g} s",
        retry_after_s=min(most, max(least, waited_s)),
        limit=f"engine_wait_s={waited_s:g}",
        measured="0 ready engines",
    )


def queue_full(num_waiting: int, most: int, retry_after_s: float) -> Refused:
    """The queue's bound is reached."""
    return Refused(
        Outcome.OVERLOADED,
        f"{num_waiting} requests wait for an engine already; come back later",
        retry_after_s=retry_after_s,
        limit=f"max_queued_requests={most}",
        measured=str(num_waiting),
    )


def expired(retry_after_s: float) -> Refused:
    """Its deadline passed before an engine had it, or had it again."""
    return Refused(
        Outcome.EXPIRED,
        "the request's deadline passed while it waited for an engine",
        retry_after_s=retry_after_s,
    )


def quarantined(remaining_s: float, quarantine_s: float, crashes: int) -> Refused:
    """Engines died of it, or of one like it: `crashes` of them, the last with nothing else aboard."""
    return Refused(
        Outcome.ENGINE_FAILED,
        f"engines have died of this request; it and any like it are refused for {max(1, round(remaining_s))} s",
        should_retry=False,
        limit=f"quarantine_s={quarantine_s:g}",
        measured=f"{crashes} crashes",
    )


def given_up(recoveries: int) -> Refused:
    """Its engine died, and it has gone on elsewhere as often as it may."""
    return Refused(
        Outcome.ENGINE_FAILED,
        "the engine that had this request died, and it may not go on elsewhere",
        limit=f"max_recoveries={recoveries}",
        measured=f"{recoveries} recoveries",
    )


def aborted(outcome: Outcome) -> Refused:
    """Its client does not want it any more, or does not take it."""
    return Refused(outcome, f"the request was given up: {outcome}")
