"""Everything this package raises, in two trees: its own, and what is wrong with a model, which the text side shares.

::

    EngineError
     ├─ SettingsError             a setting is wrong: names the key, what was given and what is allowed
     ├─ MemoryBudgetError         weights or cache do not fit into the memory allowed
     ├─ RequestError              you misused me: this request can never succeed as it is
     │   ├─ InvalidRequestError
     │   └─ RequestTooLargeError
     ├─ RequestFailedError        this request failed, others go on (its outcome says how)
     ├─ DeviceError               the GPU answers nothing but errors from here on: this process has to end
     ├─ IntegrityError            blocks or sequences are lost or counted twice (`blocks`): a fault of ours
     └─ EngineDeadError           the world failed: the engine is gone, with its last words if it left any

    IllegalTransitionError        a state forbids it (of `spillway_wire.states`): a fault of ours

    ModelError                    the model cannot be served, known at start (of `spillway_text.errors`)
     ├─ ModelNotFoundError            a folder or file is missing
     ├─ InvalidCheckpointError        a file is broken, or a tensor is missing or has the wrong shape or type
     └─ UnsupportedModelError         an architecture or a feature of it is not supported
"""

from spillway_text.errors import InvalidCheckpointError, ModelError, ModelNotFoundError
from spillway_wire.outcomes import Outcome

__all__ = [
    "DeviceError", "EngineDeadError", "EngineError", "InvalidCheckpointError", "InvalidRequestError",
    "MemoryBudgetError", "ModelError", "ModelNotFoundError", "RequestError", "RequestFailedError",
    "RequestTooLargeError", "SettingsError", "UnsupportedModelError", "is_out_of_memory",
]  # fmt: skip


class EngineError(Exception):
    """Base of this package's own errors."""


class SettingsError(EngineError):
    """A setting is wrong."""


class UnsupportedModelError(ModelError):
    """The architecture, or a feature that the checkpoint's configuration asks for, is not supported."""


class MemoryBudgetError(EngineError):
    """Weights or key-value cache do not fit into the memory allowed."""


class RequestError(EngineError):
    """This request can never succeed as it is."""

    outcome = Outcome.INVALID


class InvalidRequestError(RequestError):
    """A parameter is outside its range."""


class RequestTooLargeError(RequestError):
    """The prompt does not fit into the model's context or the cache."""

    outcome = Outcome.TOO_LARGE


class RequestFailedError(EngineError):
    """A request ended with another outcome than `completed`."""

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(f"{outcome}: {message}" if message else str(outcome))
        self.outcome = outcome


class DeviceError(EngineError):
    """A GPU failed in a way that this process cannot get over; the message begins with the kind."""


class EngineDeadError(EngineError):
    """The engine process is gone; `str()` holds its last words if it left any."""


_OUT_OF_MEMORY = frozenset({"MemoryError", "OutOfMemoryError"})


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the host or on a device; torch's error is known by its name, not imported."""
    return not _OUT_OF_MEMORY.isdisjoint(cls.__name__ for cls in type(error).__mro__)
