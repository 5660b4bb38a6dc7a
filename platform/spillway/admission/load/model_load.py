"""What a gateway knows of one model's engines and of its own queue, at one moment: the predictor's input."""

from collections.abc import Mapping

import msgspec

from spillway.admission.contract import Band
from spillway_wire.messages import Capacity


class Pace(msgspec.Struct, frozen=True):
    """How long a step takes, as a line fitted to measured steps: `fixed + per_row·rows + per_token·prefill tokens`."""

    fixed_s: float
    per_row_s: float
    """For each sequence that decodes."""
    per_token_s: float
    """For each prompt token computed."""

    def step_s(self, rows: int, prefill_tokens: int = 0) -> float:
        """Return the expected duration of a step."""
        return self.fixed_s + self.per_row_s * rows + self.per_token_s * prefill_tokens


class EngineLoad(msgspec.Struct, frozen=True, kw_only=True):
    """One routable engine."""

    engine_id: str
    capacity: Capacity
    sequences: int
    """Running and waiting there, of all gateways, with what was sent since it last spoke."""
    free_blocks: int
    prefill_tokens: int
    """Prompt tokens that it has still to compute."""
    limit: float
    """Sequences that it may hold now (see `limit`); never above `capacity.max_num_seqs`."""
    pace: Pace | None
    """None until enough steps were measured."""

    @property
    def free_slots(self) -> float:
        """Sequences that could start there now; may be negative."""
        return self.limit - self.sequences


class Waiting(msgspec.Struct, frozen=True):
    """What waits in this gateway, of one tenant in one band."""

    requests: int
    sequences: int
    prefill_tokens: int


class ModelLoad(msgspec.Struct, frozen=True, kw_only=True):
    """All of a model."""

    engines: tuple[EngineLoad, ...]
    """Ready and routable."""
    waiting: Mapping[Band, Mapping[str, Waiting]]
    """Fresh work by band and tenant id; tenants with nothing are left out."""
    resumed: int
    """Sequences of requests that lost their engine and go before all fresh work."""
    own_running: int
    """Sequences of this gateway that engines work on."""

    @property
    def num_waiting(self) -> int:
        """Fresh requests in the queue."""
        return sum(each.requests for band in self.waiting.values() for each in band.values())
