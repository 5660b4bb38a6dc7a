"""Ops' part in traces: what the supervisor tells of engines' restarts becomes a trace of each, once."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from spillway.telemetry.trace_store.reader import StoreReader
from spillway.telemetry.tracing.engine_spans import build_life, life_trace_id
from spillway.telemetry.tracing.shared import Buildable
from spillway.telemetry.tracing.trace import Trace
from spillway_wire.plane import EngineLife

_REMEMBERED: Final = 256


@dataclass(frozen=True, slots=True)
class _Told:
    """A restart on its way to the telemetry thread."""

    life: EngineLife
    wall_offset_ns: int
    store: StoreReader

    def build(self) -> Trace | None:
        if self.store.get(life_trace_id(self.life).hex()):
            return None  # an ops process before this one has told it
        return build_life(self.life, self.wall_offset_ns)


class RestartTraces:
    """Takes the supervisor's stories; those that it tells again when ops connects are known."""

    def __init__(
        self,
        offer: Callable[[Buildable], object],
        store: StoreReader,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`offer` never waits; `store` is asked in the telemetry thread."""
        self._offer, self._store, self._wall_ns, self._clock_ns = offer, store, wall_ns, clock_ns
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def received(self, life: EngineLife) -> None:
        """Make a trace of it, unless that was done."""
        trace_id = life_trace_id(life)
        if trace_id in self._known:
            return
        self._known[trace_id] = None
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        self._offer(_Told(life, self._wall_ns() - self._clock_ns(), self._store))
