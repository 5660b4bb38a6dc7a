"""Which requests' traces are kept: decided when a request has ended, so that what went wrong is never left out.

Always kept: errors of ours, what was shed, what was recovered, what missed its objective. Of the rest, what the caller
samples, and of those without a caller's word a share by trace id, which every service that samples so chooses alike.
What is shed comes in floods, when there is the least to spare: of it no more than so many a second are kept for that
reason alone.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from spillway.telemetry.tracing.context import Parent
from spillway.telemetry.tracing.ids import low_64
from spillway_wire.outcomes import Outcome

FAULTS: Final = frozenset({Outcome.ENGINE_FAILED, Outcome.GATEWAY_FAILED, Outcome.INTERNAL})
SHED: Final = frozenset({Outcome.QUOTA, Outcome.OVERLOADED, Outcome.EXPIRED, Outcome.DRAINING, Outcome.NO_ENGINE})
FAILED: Final = FAULTS | (SHED - {Outcome.QUOTA})
"""Not the client's doing: these spans have the status error."""
SHED_PER_S: Final = 100.0
_RATIO_SAMPLERS: Final = frozenset({"traceidratio", "parentbased_traceidratio"})


class Kept(StrEnum):
    """Why a trace is kept; the first that holds."""

    ERROR = "error"
    RECOVERED = "recovered"
    OBJECTIVE = "objective_missed"
    PARENT = "parent"
    RATIO = "ratio"
    SHED = "shed"


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """What the decision looks at."""

    trace_id: bytes
    parent: Parent | None
    outcome: Outcome
    recovered: bool = False
    objective_missed: bool = False


class Sampler:
    """Decides; holds nothing but the allowance for what is shed."""

    def __init__(self, ratio: float = 1.0, *, shed_per_s: float = SHED_PER_S) -> None:
        """`ratio` is the share of the rest that is kept, from 0 to 1. Raises ValueError."""
        if not 0.0 <= ratio <= 1.0:
            raise ValueError(f"the ratio of traces to keep is {ratio:g}; give a number from 0 to 1")
        self.ratio = ratio
        self._bound = round(ratio * (1 << 64))
        self._shed_per_s = self._allowance = shed_per_s
        self._allowed_at: float | None = None

    def samples(self, trace_id: bytes, parent: Parent | None) -> bool:
        """Whether the trace is kept whatever becomes of the request: what the answer's header says."""
        return parent.sampled if parent is not None else low_64(trace_id) < self._bound

    def decide(self, ending: Ending, now: float) -> Kept | None:
        """Return why the trace is kept, or None. `now` in seconds, of any clock that does not go back."""
        if ending.outcome in FAULTS:
            return Kept.ERROR
        if ending.recovered:
            return Kept.RECOVERED
        if ending.objective_missed:
            return Kept.OBJECTIVE
        if self.samples(ending.trace_id, ending.parent):
            return Kept.RATIO if ending.parent is None else Kept.PARENT
        if ending.outcome in SHED and self._allow_shed(now):
            return Kept.SHED
        return None

    def _allow_shed(self, now: float) -> bool:
        if self._allowed_at is not None:
            earned = max(0.0, now - self._allowed_at) * self._shed_per_s
            self._allowance = min(self._shed_per_s, self._allowance + earned)
        self._allowed_at = now
        if self._allowance < 1.0:
            return False
        self._allowance -= 1.0
        return True


class NothingKept(Sampler):
    """Keeps no trace, whatever happens."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def samples(self, trace_id: bytes, parent: Parent | None) -> bool:
        """Whoever asked for it."""
        return False

    def decide(self, ending: Ending, now: float) -> Kept | None:
        """None."""
        return None


def ratio_of(environment: Mapping[str, str], configured: float) -> float:
    """Return the ratio: `OTEL_TRACES_SAMPLER` counts more than the settings. Raises ValueError."""
    sampler = environment.get("OTEL_TRACES_SAMPLER", "").strip()
    if not sampler:
        return configured
    if sampler in {"always_on", "parentbased_always_on"}:
        return 1.0
    if sampler in {"always_off", "parentbased_always_off"}:
        return 0.0
    if sampler not in _RATIO_SAMPLERS:
        allowed = "always_on, always_off, traceidratio, or one of them after parentbased_"
        raise ValueError(f"OTEL_TRACES_SAMPLER is {sampler!r}; give {allowed}")
    said = environment.get("OTEL_TRACES_SAMPLER_ARG", "1").strip() or "1"
    try:
        ratio = float(said)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"OTEL_TRACES_SAMPLER_ARG is {said!r}; give a number from 0 to 1")
    return ratio
