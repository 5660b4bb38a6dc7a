"""Faults that can be ordered of an engine: their names, what each does, and what its value may be.

Whoever orders one (ops, a drill, the console) reads them here; the engine does what they say (`process.faults`).
"""

from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """What can be ordered."""

    CRASH = "crash"
    EXCEPTION = "exception"
    ENDLESS_STEP = "endless_step"
    SLOW_STEP = "slow_step"
    NAN_LOGITS = "nan_logits"
    OUT_OF_MEMORY = "out_of_memory"
    KV_EXHAUSTION = "kv_exhaustion"
    DROP_OUTPUT = "drop_output"
    CORRUPT_OUTPUT = "corrupt_output"
    DUPLICATE_OUTPUT = "duplicate_output"
    LATE_OUTPUT = "late_output"
    POISON = "poison"


MEANINGS: Final[dict[Fault, str]] = {
    Fault.CRASH: "SIGKILL to the process itself, in the middle of the step",
    Fault.EXCEPTION: "the step raises: last words, then exit",
    Fault.ENDLESS_STEP: "the step never ends and burns a core",
    Fault.SLOW_STEP: "the step takes `value` seconds longer",
    Fault.NAN_LOGITS: "a share `value` of the step's sampling rows, at least one, has NaN logits",
    Fault.OUT_OF_MEMORY: "the step raises MemoryError: the engine goes on in smaller steps",
    Fault.KV_EXHAUSTION: "a share `value` of all cache blocks is held back, as soon as they are free",
    Fault.DROP_OUTPUT: "the step's output frames are not sent; their sequence numbers are used",
    Fault.CORRUPT_OUTPUT: "the step's output frames are sent with their content mangled",
    Fault.DUPLICATE_OUTPUT: "the step's output frames are sent twice",
    Fault.LATE_OUTPUT: "the step's output frames are sent behind those of the next step",
    Fault.POISON: "SIGKILL to the process itself in any step with a request that asks for exactly `value` tokens",
}

VALUES: Final[dict[Fault, tuple[float, float]]] = {
    Fault.SLOW_STEP: (0.0, 3600.0),
    Fault.NAN_LOGITS: (0.0, 1.0),
    Fault.KV_EXHAUSTION: (0.0, 1.0),
    Fault.POISON: (1.0, 1e9),
}
"""Allowed values of the faults that have one."""
