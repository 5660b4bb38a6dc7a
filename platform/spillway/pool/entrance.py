"""What cannot be taken at all is refused before it is written down: the checks of `submit`, the cheapest first."""

from spillway.pool import refusals
from spillway.pool.casualties import Casualties
from spillway.pool.contract import Work
from spillway.pool.dispatcher import Dispatcher
from spillway.pool.members import Roster
from spillway.pool.queue import WaitingQueue


def check_admissible(
    work: Work,
    now: float,
    *,
    roster: Roster,
    queue: WaitingQueue,
    dispatcher: Dispatcher,
    casualties: Casualties,
    max_queued: int,
) -> None:
    """Raise `Refused` if `work` cannot be taken."""
    model = roster.models.get(work.model)
    if dispatcher.stopped:
        raise refusals.shutting_down()
    if model is None:
        raise refusals.unknown_model(work.model)
    if model.served.hopeless:
        raise refusals.hopeless(work.model, model.served.retry_s)
    refusal = casualties.quarantine.check(work, now)
    if refusal is not None:
        raise refusal
    if work.deadline is not None and work.deadline <= now:
        raise dispatcher.expired(now)
    num_waiting = queue.num_fresh
    if num_waiting >= max_queued:
        raise refusals.queue_full(num_waiting, max_queued, dispatcher.drain_rate.retry_after_s(num_waiting, now))
