"""What all requests of a gateway share for their traces: ids, sampling, the books of engines' steps, the way out."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from spillway.telemetry.tracing.contents import EVERYBODY
from spillway.telemetry.tracing.context import Headers
from spillway.telemetry.tracing.engine_spans import build_step
from spillway.telemetry.tracing.ids import Ids
from spillway.telemetry.tracing.recorder import RequestTrace
from spillway.telemetry.tracing.sampling import Sampler
from spillway.telemetry.tracing.steps import SAMPLE_EVERY, StepBooks, StepSample
from spillway.telemetry.tracing.trace import Trace
from spillway_wire.messages import StepOutput


class Buildable(Protocol):
    """Something that becomes a trace in the telemetry thread."""

    def build(self) -> Trace | None:
        """Make it; None if there is nothing to tell."""


@dataclass(frozen=True, slots=True)
class _SampledStep:
    """A step on its way to the telemetry thread."""

    sample: StepSample
    links: tuple[tuple[bytes, bytes], ...]
    model: str
    gateway: str
    wall_offset_ns: int

    def build(self) -> Trace:
        return build_step(
            self.sample,
            self.links,
            model=self.model,
            gateway=self.gateway,
            wall_offset_ns=self.wall_offset_ns,
        )


class Tracing:
    """What all requests of a gateway share for their traces."""

    def __init__(
        self,
        offer: Callable[[Buildable], object],
        *,
        sampler: Sampler,
        gateway: str = "",
        baggage_keys: Iterable[str] = (),
        content: Iterable[str] = (),
        step_every: int = SAMPLE_EVERY,
        clock: Callable[[], float] = time.monotonic,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`offer` takes what becomes a trace; it never waits. `clock` is that of the gateway and of its pool.

        `content` names the tenants whose prompts and answers are noted; `*` is everybody.
        """
        self.offer, self.sampler, self.gateway, self.clock = offer, sampler, gateway, clock
        self.baggage_keys = tuple(baggage_keys)
        self._content = frozenset(content)
        self.ids = Ids()
        self.open: dict[str, RequestTrace] = {}
        """By the id of a prompt's work: what engines' frames are about."""
        self.books = StepBooks(self._step_sampled, every=step_every)
        self.num_kept = self.num_left_out = 0
        self._clock_ns, self._wall_ns = clock_ns, wall_ns

    def begin(
        self, headers: Headers, *, endpoint: str, request_id: str, began: float, client: str = ""
    ) -> RequestTrace:
        """Begin with a request. `began` is when it was heard of, in seconds of the clock."""
        return RequestTrace(self, headers, endpoint=endpoint, request_id=request_id, began=began, client=client)

    def wants_contents(self, tenant: str) -> bool:
        """Whether the settings ask for a tenant's prompts and answers."""
        return bool(self._content) and not self._content.isdisjoint((tenant, EVERYBODY))

    def wall_offset_ns(self) -> int:
        """Unix time minus the monotonic clock, now: read for a new request, and then good for all its spans."""
        return self._wall_ns() - self._clock_ns()

    def note_step(self, engine_id: str, incarnation: int, output: StepOutput) -> None:
        """Take in an engine's frame."""
        self.books.note(engine_id, incarnation, output)

    def count(self, *, kept: bool) -> None:
        """Count a request that has ended."""
        if kept:
            self.num_kept += 1
        else:
            self.num_left_out += 1

    def facts(self) -> Mapping[str, float]:
        """Return counts by stable names."""
        return {"traces_kept": self.num_kept, "traces_left_out": self.num_left_out}

    def _step_sampled(self, sample: StepSample) -> None:
        found = dict.fromkeys(
            trace for delta in sample.output.deltas if (trace := self.open.get(delta.request_id)) is not None
        )
        if not found:
            return  # another gateway's step: it tells of it
        model = next(iter(found)).entries[0].work.model
        links = tuple((trace.trace_id, trace.span_id) for trace in found)
        self.offer(_SampledStep(sample, links, model, self.gateway, self.wall_offset_ns()))
