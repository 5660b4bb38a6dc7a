"""What the pool says of itself: frozen, for probes, metrics, the console and tests."""

from dataclasses import dataclass

from spillway.pool.members import EngineView
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
    load: Load | None
    """All gateways' load, as of its last step; None while not connected."""

    @classmethod
    def of(cls, view: EngineView) -> "EngineSnapshot":
        """Describe a view."""
        connection = view.connection
        return cls(
            engine_id=view.member.engine_id,
            incarnation=view.member.incarnation,
            model=view.member.model,
            status=str(view.member.status),
            routable=view.routable,
            credits=0 if connection is None else connection.book.credits,
            num_open=0 if connection is None else len(connection.entries),
            num_stranded=len(view.stranded),
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
