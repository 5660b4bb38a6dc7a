"""Ways to end a request in a pool, and what it has to leave behind: nothing.

Both sides are asked, the pool's books and the engines::

    is_gone   at once: in no place and no line, not alone, held nowhere, one outcome, and nothing said after it
    is_idle   when all is over: what a connection's book says is what the engine counted, as before the first request
"""

from spillway.pool.capacity import Estimate
from spillway.pool.lifecycle import State
from spillway.pool.members import Key
from spillway_wire.messages import Abort, Submit
from spillway_wire.outcomes import Outcome

from .fake_pool_engines import CAPACITY, SimEngine
from .fake_pool_readers import Reader
from .fake_pool_world import World

# ---- ways ----


def client_leaves(_: World, reader: Reader) -> Outcome:
    reader.ticket.abort()
    return Outcome.CLIENT_GONE


def reader_lags(_: World, reader: Reader) -> Outcome:
    reader.ticket.abort(Outcome.SLOW_READER)
    return Outcome.SLOW_READER


def deadline_passes(world: World, reader: Reader) -> Outcome:
    """Only where the pool watches the time: while the request waits. What runs, its engine ends in time."""
    assert reader.work.deadline is not None
    world.pass_time(reader.work.deadline - world.now - 0.01)
    assert not reader.entry.is_over
    world.pass_time(0.01)
    return Outcome.EXPIRED


# ---- what was sent ----


def submits(world: World, reader: Reader) -> list[tuple[Key, int, bool]]:
    """Where a request was sent: engine, attempt, and whether it is to run alone."""
    return [
        (key, message.attempt, message.alone)
        for key, message in world.wires.sent
        if isinstance(message, Submit) and message.request_id == reader.name
    ]


def aborts(world: World) -> list[tuple[Key, Abort]]:
    """All aborts that were sent to anybody."""
    return [(key, message) for key, message in world.wires.sent if isinstance(message, Abort)]


# ---- what is left ----


def is_gone(world: World, reader: Reader, outcome: Outcome) -> None:
    """Assert that nothing is left of a request but its one end, and that ending it again does nothing."""
    core, entry = world.core, reader.entry
    core.check_integrity()
    reader.read().check()
    assert reader.num_ends == 1
    if outcome is Outcome.COMPLETED:
        assert reader.completed
    else:
        assert reader.refused is not None
        assert reader.refused.outcome is outcome
    assert (entry.state, entry.place) == (State.FINISHED, None)
    assert core.journal.get(reader.name) is None
    assert entry not in [waiting for name in core.queue.models for waiting in core.queue.lane(name)]
    assert core.dispatcher.alone is not entry
    for view in core.roster.views.values():
        assert reader.name not in view.stranded
        assert view.connection is None or reader.name not in view.connection.entries
    num_sent = len(world.wires.sent)
    reader.ticket.abort()
    reader.ticket.end_choice(0)
    assert len(world.wires.sent) == num_sent
    core.check_integrity()


def is_served(world: World, reader: Reader, *engines: SimEngine) -> None:
    """Assert that a request completes with the right tokens when these engines go on."""
    world.run(*engines)
    reader.read().check()
    assert reader.completed


def is_idle(world: World) -> None:
    """Assert that nothing is open, and that every book is as it was before the first request came."""
    core = world.core
    world.pass_time(60)
    world.flush()
    core.check_integrity()
    snapshot = core.snapshot()
    assert (snapshot.num_open, snapshot.num_queued, snapshot.num_running, snapshot.num_recovering) == (0, 0, 0, 0)
    assert (snapshot.alone, snapshot.num_quarantined) == (None, 0)
    assert (len(core.queue), core.queue.num_fresh, core.queue.next_deadline) == (0, 0, None)
    for view in core.roster.views.values():
        assert (view.stranded, view.verdict_due) == ({}, None)
    for engine in world.engines.values():
        if engine.connection is not None:
            _agrees(engine)


def _agrees(engine: SimEngine) -> None:
    """The engine has nothing aboard, and book and engine count the same."""
    assert engine.connection is not None
    engine.take_in()
    engine.say_step([])  # its load, with all that was ever sent in it
    book = engine.connection.book
    assert engine.running == {}
    assert engine.connection.entries == {}
    assert book.estimate() == Estimate(0, CAPACITY.num_blocks, 0)
    assert (book.sent, book.sent_fresh) == (engine.num_received, engine.num_fresh)
    assert book.credits == engine.granted - engine.num_fresh - engine.backlog.returned
    assert book.backlog(0) is None, "the engine knows that nothing waits"
