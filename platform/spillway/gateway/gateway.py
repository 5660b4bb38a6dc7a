"""What all requests of a gateway share."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from spillway.admission.admission import Admission
from spillway.gateway.interrupt import Interruptible
from spillway.gateway.models import Model, Models
from spillway.gateway.problems import Problem
from spillway.pool.contract import ModelState, Pool
from spillway.settings import Settings
from spillway.telemetry.metrics.requests import RequestMetrics
from spillway.telemetry.tracing.ids import Ids
from spillway.telemetry.tracing.sampling import Sampler
from spillway.telemetry.tracing.shared import Tracing
from spillway_wire import names
from spillway_wire.label_book import LabelBook
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import PhaseKind
from spillway_wire.series import SeriesPage
from spillway_wire.tally import TallyWriter

Log = Callable[..., None]
"""Writes one event for the operator: its name, and fields. Prompts and outputs are never among them."""
_IDS: Final = Ids()


def _new_id() -> str:
    return _IDS.trace_id().hex()


class Gateway:
    """Models, pool, counters, and the phase the whole platform is in."""

    def __init__(
        self,
        settings: Settings,
        models: Models,
        pool: Pool,
        tally: TallyWriter,
        log: Log,
        *,
        admission: Admission | None = None,
        tracing: Tracing | None = None,
        metrics: RequestMetrics | None = None,
        log_requests: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        new_id: Callable[[], str] = _new_id,
    ) -> None:
        """Without `admission` everybody is anonymous, has no limits, and is let in whatever the load.

        Without `tracing` no trace is kept, and without `metrics` nobody reads what is counted.
        """
        self.settings = settings
        self.models = models
        self.pool = pool
        self.admission = admission or Admission(_letting_all_in(settings), pool, clock=clock, wall=wall)
        self.tracing = tracing or Tracing(lambda _: None, sampler=Sampler(0.0), clock=clock)
        self.metrics = metrics or RequestMetrics(SeriesPage(), LabelBook(None, most=0, other=names.OTHER))
        self.tally = tally
        self.log = log
        self.log_requests = log_requests
        self.clock = clock
        self.wall = wall
        self.new_id = new_id
        self.phase = PhaseKind.SERVING
        self._open: set[Interruptible] = set()

    def __repr__(self) -> str:
        return f"<Gateway {self.phase} open={len(self._open)}>"

    @property
    def num_open(self) -> int:
        """Requests that are being answered."""
        return len(self._open)

    def enter_phase(self, phase: PhaseKind) -> None:
        """Go on to a phase of the orderly shutdown; the last one gives every open request an error."""
        self.phase = phase
        if phase is PhaseKind.ENDING:
            for work in tuple(self._open):
                work.interrupt(draining(phase))

    @contextmanager
    def opened(self, work: Interruptible) -> Iterator[None]:
        """Have the end of the server reach `work`."""
        self._open.add(work)
        try:
            yield
        finally:
            self._open.discard(work)

    def check_taking_work(self) -> None:
        """Raise `Problem` if new requests are refused."""
        if self.phase in {PhaseKind.REFUSING, PhaseKind.ENDING}:
            raise draining(self.phase)

    def model(self, name: str | None) -> Model:
        """Return the model that a request means. Raises `Problem`."""
        model = self.models.default if name is None else self.models.get(name)
        if model is None:
            if name is None:
                raise Problem(Outcome.NO_ENGINE, "no model is served yet")
            raise unknown_model(name)
        return model

    def model_state(self, model: Model) -> ModelState | None:
        """Return what the pool knows of a model's engines."""
        return self.pool.model_state(model.name)

    def longest_context(self, models: Iterable[Model]) -> int | None:
        """Return how many tokens fit where the most fit; None if that is not known of all."""
        longest = 0
        for model in models:
            state = self.model_state(model)
            if state is None or state.max_model_len is None:
                return None
            longest = max(longest, state.max_model_len)
        return longest


def _letting_all_in(settings: Settings) -> Settings:
    return replace(settings, admission=replace(settings.admission, shed=False))


def draining(phase: PhaseKind) -> Problem:
    """Return why a server that is about to end serves nobody."""
    return Problem(
        Outcome.DRAINING,
        "the server is shutting down; send this again, to another one or a little later",
        limit=f"phase={PhaseKind.SERVING}",
        measured=f"phase={phase}",
    )


def unknown_model(name: str) -> Problem:
    """Return why a model cannot be had."""
    return Problem(
        Outcome.UNKNOWN_MODEL,
        f"The model {name[:200]!r} does not exist; see /v1/models for those that do",
        param="model",
    )
