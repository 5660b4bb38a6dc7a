"""The gateway's pool: the edge between the pool's decisions (`core`) and the event loop, sockets and timers.

Which process runs it: a gateway. What crosses its boundary: frames to and from engines (three channels each, see
`spillway_wire.links`), and the supervisor's word, which the gateway passes on (`set_membership`, `engine_died`). What
happens when the other side dies: an engine's death is a pause for its requests; the supervisor's ends the gateway.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec

from spillway.admission.contract import Band
from spillway.admission.load.model_load import ModelLoad
from spillway.admission.queue.age import QueueAge
from spillway.pool.contract import ModelState, Ticket, Work
from spillway.pool.core import PoolCore
from spillway.pool.dispatcher import Recovered
from spillway.pool.members import EngineConnection, Key
from spillway.pool.observer import PoolObserver
from spillway.pool.policies import POLICIES, PoolPolicies, connecting
from spillway.pool.snapshot import PoolSnapshot
from spillway.settings import LimitSettings
from spillway_wire.address import AddressError, parse_address
from spillway_wire.links import LinkError, Links
from spillway_wire.messages import Channel, FromEngine, StepOutput
from spillway_wire.plane import EngineDied, Member, Membership, Quarantined


class EnginePool:
    """Implements `contract.Pool` on real engines. Make it in a running event loop; `close` it at the end."""

    def __init__(
        self,
        client_id: str,
        *,
        limits: LimitSettings,
        clock: Callable[[], float] = time.monotonic,
        log: Callable[..., None] = lambda *_, **__: None,
        on_recovery: Callable[[Recovered], None] = lambda _: None,
        on_quarantine: Callable[[Quarantined], None] = lambda _: None,
        observer: PoolObserver | None = None,
        on_step: Callable[[str, int, StepOutput], None] = lambda *_: None,
        on_dropped: Callable[[str, int], None] = lambda *_: None,
        policies: PoolPolicies = POLICIES,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._wires = _Wires(client_id, clock=clock, sleep=sleep, policies=policies, log=log, on_step=on_step)
        self._wires.on_dropped = on_dropped
        self._core = self._wires.core = PoolCore(
            self._wires,
            limits=limits,
            clock=clock,
            log=log,
            on_recovery=on_recovery,
            on_quarantine=on_quarantine,
            observer=observer,
            policies=policies,
        )

    # ---- what the HTTP side asks ----

    def submit(self, work: Work) -> Ticket:
        """Queue `work` and return at once; raise `Refused` if it cannot be taken."""
        return self._core.submit(work)

    def model_state(self, name: str) -> ModelState | None:
        """Return what is known of a model, or None if it is not served."""
        return self._core.model_state(name)

    def load(self, name: str) -> ModelLoad | None:
        """Return what a model's engines have in hand and what waits for them, or None if it is not served."""
        return self._core.load(name)

    def queue_age(self, name: str, band: Band) -> QueueAge | None:
        """Return how long what waits in a band has waited, and may; None if the model is not served."""
        return self._core.queue_age(name, band)

    def retry_after_s(self) -> float:
        """Return when coming back can help, as fast as the queue drains now."""
        return self._core.retry_after_s()

    @property
    def num_open(self) -> int:
        """Requests that are queued or running."""
        return len(self._core.journal)

    def snapshot(self) -> PoolSnapshot:
        """Describe everything, frozen."""
        return self._core.snapshot()

    def check_integrity(self) -> None:
        """Raise if a request is in no place or in two, or a book does not add up."""
        self._core.check_integrity()

    # ---- what the supervisor says ----

    def set_limits(self, limits: LimitSettings) -> None:
        """Take over other limits for what is still to come."""
        self._core.set_limits(limits)

    def set_membership(self, membership: Membership) -> None:
        """Take in which engines and models there are now."""
        self._core.set_membership(membership)

    def engine_died(self, died: EngineDied) -> None:
        """Go on elsewhere with what was on a dead engine."""
        self._core.engine_died(died)

    def hear_quarantined(self, entry: Quarantined) -> None:
        """Refuse what engines died of through another gateway."""
        self._core.casualties.quarantine.hear(entry)

    async def close(self) -> None:
        """End what is open, every connection and every try to make one. Idempotent."""
        self._core.close()
        await self._wires.close()


class _Wires:
    """What the core asks of the world, done with one event loop (see `core.Wires`)."""

    def __init__(
        self,
        client_id: str,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        policies: PoolPolicies,
        log: Callable[..., None],
        on_step: Callable[[str, int, StepOutput], None],
    ) -> None:
        self.core: PoolCore
        self.on_dropped: Callable[[str, int], None]
        """Told of frames that engines sent and that did not arrive whole: why, and how many."""
        self._on_step = on_step
        self._client_id = client_id
        self._num_connections = 0
        self._clock, self._sleep, self._policies, self._log = clock, sleep, policies, log
        self._loop = asyncio.get_running_loop()
        self._links: dict[Key, Links] = {}
        self._tries: dict[Key, asyncio.Task[None]] = {}
        self._cancelled: set[asyncio.Task[None]] = set()
        """Tries that are being given up; kept until they are over."""
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at = 0.0
        self._soon = False
        self._closed = False

    # ---- connections ----

    def connect(self, member: Member) -> None:
        """Keep trying to connect to `member` until it succeeds or nobody wants it any more."""
        key = member.engine_id, member.incarnation
        if not self._closed and key not in self._tries and key not in self._links:
            self._tries[key] = self._loop.create_task(self._try(key, member.address))

    async def _try(self, key: Key, address: str) -> None:
        task = asyncio.current_task()
        try:
            tries = connecting(self._policies, over=lambda: self._tries.get(key) is not task, sleep=self._sleep)
            async for attempt in tries:
                with attempt:
                    self._num_connections += 1  # a name of its own: the engine may still know the last one
                    name = f"{self._client_id}.{self._num_connections}"
                    links = await Links.open(parse_address(address), name, self._policies.connect_timeout_s)
            self._connected(key, name, links)
        except (OSError, LinkError, AddressError) as error:
            self._log("engine_unreachable", engine=key[0], incarnation=key[1], error=str(error))
        finally:
            if self._tries.get(key) is task:
                del self._tries[key]

    def _connected(self, key: Key, name: str, links: Links) -> None:
        connection = None
        if not self._closed:
            links.on_dropped = self.on_dropped
            self._links[key] = links  # before the core hears of it: it may send at once
            connection = self.core.connected(key, name, links.welcome)
        if connection is None:
            self._links.pop(key, None)
            links.abort("no longer wanted")
            return
        links.bind(
            lambda message: self._received(connection, message),
            lambda words: self.core.disconnected(connection, links.ending, words),
        )

    def _received(self, connection: EngineConnection, message: FromEngine) -> None:
        if type(message) is StepOutput:
            self._on_step(*connection.view.key, message)
        self.core.received(connection, message)

    def disconnect(self, key: Key, reason: str) -> None:
        """End the connection to `key`, or the tries to make one. Idempotent."""
        task = self._tries.pop(key, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            self._cancelled.add(task)
            task.add_done_callback(self._cancelled.discard)
        links = self._links.pop(key, None)
        if links is not None:
            links.abort(reason)

    def send(self, key: Key, message: msgspec.Struct) -> bool:
        """Queue `message` on the request channel; False if the engine does not read it."""
        links = self._links.get(key)
        return links is None or links.send(Channel.REQUEST, message)

    # ---- time ----

    def wake_at(self, when: float) -> None:
        """Have the core ticked at `when`, or earlier."""
        if self._closed or (self._timer is not None and self._wake_at <= when):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._wake_at = when
        self._timer = self._loop.call_later(max(0.0, when - self._clock()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.core.tick()

    def soon(self) -> None:
        """Have backlogs told after the events of this moment: many at once are one message."""
        if not self._soon and not self._closed:
            self._soon = True
            self._loop.call_soon(self._tell)

    def _tell(self) -> None:
        self._soon = False
        if not self._closed:
            self.core.dispatcher.tell_backlogs()

    # ---- the end ----

    async def close(self) -> None:
        """End every connection, try and timer, and wait until they are gone. Idempotent."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for key in [*self._tries, *self._links]:
            self.disconnect(key, "this gateway is shutting down")
        if self._cancelled:
            await asyncio.wait(self._cancelled)
