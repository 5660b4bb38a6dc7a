"""How load is refused: each refusal in one place, with the limit it met, what was measured, and when to come back."""

from spillway.admission.contract import Prediction
from spillway.pool.contract import Refused
from spillway_wire.outcomes import Outcome


def too_slow(
    prediction: Prediction, room_and_allowed_s: tuple[float, float], tier: str | None, retry_after_s: float
) -> Refused:
    """Its first token would come later than its tier promises, or than the part of it that is free."""
    room_s, allowed_s = room_and_allowed_s
    of_tier = "" if tier is None else f" ({tier})"
    return Refused(
        Outcome.OVERLOADED,
        f"the first token would take {prediction.ttft_s:.2f} s, and there is room for {room_s:.2f} s; come back later",
        retry_after_s=retry_after_s,
        limit=f"ttft={allowed_s:g}s{of_tier}",
        measured=f"predicted {prediction.ttft_s:.2f} s",
    )


def misses_deadline(prediction: Prediction, left_s: float, retry_after_s: float) -> Refused:
    """Its first token would come after its client's deadline."""
    return Refused(
        Outcome.OVERLOADED,
        f"the first token would take {prediction.ttft_s:.2f} s, and the deadline is in {max(0.0, left_s):.2f} s",
        retry_after_s=retry_after_s,
        limit=f"deadline={max(0.0, left_s):.2f}s",
        measured=f"predicted {prediction.ttft_s:.2f} s",
    )


def queue_too_old(age_s: float, allowed_s: float, retry_after_s: float) -> Refused:
    """Predictions are not to be believed now, and the queue is old."""
    return Refused(
        Outcome.OVERLOADED,
        f"requests wait for {age_s:.2f} s already, {allowed_s:.2g} s are allowed; come back later",
        retry_after_s=retry_after_s,
        limit=f"queue_age={allowed_s:.2g}s",
        measured=f"{age_s:.2f} s",
    )


def engines_away(wait_s: float, allowed_s: float, retry_after_s: float) -> Refused:
    """No engine is ready, and those who wait for one already will keep it busy for as long as is allowed."""
    return Refused(
        Outcome.OVERLOADED,
        f"no engine is ready, and what waits for one will take {wait_s:.2f} s; come back later",
        retry_after_s=retry_after_s,
        limit=f"ttft={allowed_s:g}s",
        measured=f"{wait_s:.2f} s of work waits",
    )


def level_shed(level: int, threshold: int, retry_after_s: float) -> Refused:
    """More important requests alone are let in."""
    return Refused(
        Outcome.OVERLOADED,
        "requests wait too long: only more important ones are let in now; come back later",
        retry_after_s=retry_after_s,
        limit=f"level={threshold}",
        measured=str(level),
    )


def too_many_retries(ratio: float) -> Refused:
    """Retries out of turn are what the load is made of."""
    return Refused(
        Outcome.OVERLOADED,
        "too many requests are retries that came before their time; this one is not to be tried again",
        should_retry=False,
        limit=f"retry_budget={ratio:g}",
        measured="0 left",
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
