"""What the pool says of itself: frozen, for probes, metrics, the console and tests."""

from dataclasses import dataclass

from spillway.admission.contract import Band
from spillway.admission.load.model_load import EngineLoad, ModelLoad
from spillway.admission.queue.age import QueueAge
from spillway.pool.dispatcher import Dispatcher
from spillway.pool.journal import Journal
from spillway.pool.lifecycle import State
from spillway.pool.members import EngineView, Roster
from spillway.pool.queue import Lane
from spillway_wire.messages import Load


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSnapshot:
    """One engine as this gateway sees it."""

    engine_id: str
    incarnation: int
    model: str
    status: str
    routable: bool
    credits: int
    num_open: int
    """This gateway's requests there."""
    num_stranded: int
    """Those that wait for the verdict on it."""
    limit: float | None
    """Sequences that it may hold, by its step time; None until it was connected."""
    step_s: float | None
    """What a step that decodes one sequence takes; None until enough steps were measured."""
    load: Load | None
    """All gateways' load, as of its last step; None while not connected."""

    @classmethod
    def of(cls, view: EngineView) -> "EngineSnapshot":
        """Describe a view."""
        connection, meter = view.connection, view.meter
        pace = None if meter is None else meter.pace
        return cls(
            engine_id=view.member.engine_id,
            incarnation=view.member.incarnation,
            model=view.member.model,
            status=str(view.member.status),
            routable=view.routable,
            credits=0 if connection is None else connection.book.credits,
            num_open=0 if connection is None else len(connection.entries),
            num_stranded=len(view.stranded),
            limit=None if meter is None else meter.limit,
            step_s=None if pace is None else pace.step_s(1),
            load=None if connection is None else connection.book.load,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSnapshot:
    """One gateway's pool. `num_open = num_queued + num_running + num_recovering`."""

    num_open: int
    num_queued: int
    num_running: int
    num_recovering: int
    num_recoveries: int
    """Since the start."""
    num_quarantined: int
    drain_per_s: float
    """Requests that leave the queue for an engine each second, lately."""
    alone: str | None
    """The request that runs alone now."""
    engines: tuple[EngineSnapshot, ...]

    @classmethod
    def of(
        cls, journal: Journal, roster: Roster, dispatcher: Dispatcher, *, num_quarantined: int, now: float
    ) -> "PoolSnapshot":
        """Describe a pool."""
        states = [entry.state for entry in journal]
        alone = dispatcher.alone
        return cls(
            num_open=len(journal),
            num_queued=states.count(State.QUEUED),
            num_running=states.count(State.RUNNING),
            num_recovering=states.count(State.RECOVERING),
            num_recoveries=dispatcher.num_recoveries,
            num_quarantined=num_quarantined,
            drain_per_s=dispatcher.drain_rate.per_second(now),
            alone=None if alone is None else alone.request_id,
            engines=tuple(EngineSnapshot.of(view) for view in roster.views.values()),
        )


def model_load(name: str, roster: Roster, lane: Lane) -> ModelLoad:
    """Describe what a model's engines have in hand and what waits for them; for every request, so it counts nothing."""
    engines: list[EngineLoad] = []
    own_running = 0
    for view in roster.of(name):
        connection, meter = view.connection, view.meter
        if connection is None or meter is None:
            continue
        own_running += connection.sequences
        if view.routable:
            estimate = connection.book.estimate()
            engines.append(
                EngineLoad(
                    engine_id=view.member.engine_id,
                    capacity=meter.capacity,
                    sequences=estimate.sequences,
                    free_blocks=estimate.free_blocks,
                    prefill_tokens=estimate.prefill_tokens,
                    limit=meter.limit,
                    pace=meter.pace,
                )
            )
    return ModelLoad(
        engines=tuple(engines), waiting=lane.fresh.waiting, resumed=lane.num_resumed, own_running=own_running
    )


def queue_age(name: str, band: Band, roster: Roster, lane: Lane, now: float) -> QueueAge:
    """Describe how old a band's queue is, by the engines' own measure of how often they look at it."""
    meters = [view.meter for view in roster.of(name) if view.meter is not None]
    lane.fresh.set_prefill_s(max((meter.longest_step_s for meter in meters), default=0.0))
    return lane.fresh.age(band, now)
