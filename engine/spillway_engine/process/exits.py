"""How an engine process ends of its own accord, and the exit status that says so."""

import traceback
from dataclasses import dataclass
from typing import Final

from spillway_engine.errors import is_out_of_memory
from spillway_wire.messages import LastWords

EXIT_OK: Final = 0
"""Drained or stopped."""
EXIT_CANNOT_START: Final = 1
EXIT_USAGE: Final = 2
EXIT_STEP_FAILED: Final = 70
"""A step raised (`EX_SOFTWARE` of sysexits.h)."""


@dataclass(frozen=True, slots=True)
class LoopEnd:
    """Why the loop ended."""

    words: LastWords
    status: int

    @classmethod
    def of_failure(cls, error: Exception) -> "LoopEnd":
        """The ending of a process whose step raised `error`."""
        words = LastWords(
            cause=cause_of(error),
            message=f"{type(error).__name__}: {error}",
            traceback="".join(traceback.format_exception(error)),
        )
        return cls(words, EXIT_STEP_FAILED)


_DEVICE = {"AcceleratorError", "CudaError", "CudaAPIError", "DeviceError"}


def cause_of(error: BaseException) -> str:
    """Name the kind of failure for `LastWords`; by class name, because the device's library is not known here."""
    if is_out_of_memory(error):
        return "out_of_memory"
    return "device" if _DEVICE & {cls.__name__ for cls in type(error).__mro__} else "exception"
