"""Whether the pool's books add up: each open request in exactly one place. For tests, and for whoever is in doubt."""

from spillway.pool.dispatcher import Dispatcher
from spillway.pool.journal import Journal, JournalError
from spillway.pool.members import Roster
from spillway.pool.queue import WaitingQueue


def check_integrity(journal: Journal, queue: WaitingQueue, roster: Roster, dispatcher: Dispatcher) -> None:
    """Raise `JournalError` unless each open request is in exactly one place, and every book adds up."""
    queue.check_integrity()
    views = roster.views.values()
    connections = [view.connection for view in views if view.connection is not None]
    placed = [name for connection in connections for name in connection.entries]
    waiting = [entry.request_id for name in queue.models for entry in queue.lane(name)]
    known = [entry.request_id for entry in journal]
    if sorted(placed + waiting) != sorted(known):
        raise JournalError(f"{len(known)} requests are open, {len(placed)} on engines and {len(waiting)} waiting")
    held = {entry.request_id for name in queue.models for entry in queue.lane(name).held.values()}
    if held != {name for view in views for name in view.stranded}:
        raise JournalError("a request is held for a verdict on no engine, or on one that has a connection")
    for connection in connections:
        num_open = sum(entry.num_open for entry in connection.entries.values())
        if num_open != connection.sequences:
            raise JournalError(f"{connection.sequences} sequences are counted on {connection.view!r}, not {num_open}")
    if dispatcher.alone is not None and dispatcher.alone.is_over:
        raise JournalError(f"{dispatcher.alone!r} has ended and still runs alone")
    if queue.num_charged > len(known):
        raise JournalError(f"{queue.num_charged} requests are being charged, and only {len(known)} are open")
