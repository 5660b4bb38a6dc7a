"""Where a launch's results arrive on the host, and how they are read."""

from dataclasses import dataclass

import numpy as np

from spillway_engine.compiled import Array
from spillway_engine.cuda.choosing import Choosing
from spillway_engine.cuda.device import Device
from spillway_engine.cuda.words import UNSOUND
from spillway_engine.sampling.logprobs import UNSOUND_RANK, position_logprobs
from spillway_wire.messages import PositionLogprobs
from spillway_wire.sampling import MAX_LOGPROBS


@dataclass(frozen=True, slots=True, eq=False)
class Landing:
    """Pinned memory for the tokens and logprobs of up to so many rows."""

    token_ids: Array
    ids: Array
    values: Array
    ranks: Array
    founds: Array

    @classmethod
    def on(cls, device: Device, rows: int) -> "Landing":
        """Make one."""
        return cls(
            device.pinned((rows,), np.int32),
            device.pinned((rows, 1 + MAX_LOGPROBS), np.int32),
            device.pinned((rows, 1 + MAX_LOGPROBS), np.float64),
            device.pinned((rows,), np.int32),
            device.pinned((rows,), np.int32),
        )

    def fetch(self, device: Device, choosing: Choosing, count: int, *, tokens: bool, logprobs: bool) -> None:
        """Queue the copies of `count` rows."""
        if tokens:
            device.copy_out(self.token_ids[:count], choosing.token_ids[:count])
        if logprobs:
            device.copy_out(self.ids[:count], choosing.logprob_ids[:count])
            device.copy_out(self.values[:count], choosing.logprob_values[:count])
            device.copy_out(self.ranks[:count], choosing.logprob_ranks[:count])
            device.copy_out(self.founds[:count], choosing.logprob_founds[:count])

    def token(self, row: int) -> int | None:
        """Return a row's token, or None if its logits were unsound."""
        token = int(self.token_ids[row])
        return None if token == UNSOUND else token

    def logprobs(self, row: int, num_top: int) -> PositionLogprobs | None:
        """Return a row's logprobs, or None if its logits were unsound."""
        rank = int(self.ranks[row])
        if rank <= UNSOUND_RANK:
            return None
        return position_logprobs(self.ids[row], self.values[row], rank, int(self.founds[row]), num_top)
