"""Everything this package raises, in one tree.

::

    EngineError
     ├─ SettingsError             a setting is wrong: names the key, what was given and what is allowed
     ├─ ModelError                the model cannot be served, known at start
     │   ├─ ModelNotFoundError        a folder or file is missing
     │   ├─ UnsupportedModelError     an architecture or a feature of it is not supported
     │   └─ InvalidCheckpointError    a tensor is missing or has the wrong shape or type
     ├─ MemoryBudgetError         weights or cache do not fit into the memory allowed
     ├─ RequestError              you misused me: this request can never succeed as it is
     │   ├─ InvalidRequestError
     │   └─ RequestTooLargeError
     ├─ RequestFailedError        this request failed, others go on (its outcome says how)
 ├─ IllegalTransitionError    an event that a sequence's state does not allow (`lifecycle`): a fault of ours
 ├─ IntegrityError            blocks or sequences are lost or counted twice (`blocks`): a fault of ours
     └─ EngineDeadError           the world failed: the engine is gone, with its last words if it left any
"""

from spillway_wire.outcomes import Outcome


class EngineError(Exception):
    """Base of all errors of this package."""


class SettingsError(EngineError):
    """A setting is wrong."""


class ModelError(EngineError):
    """The model cannot be served."""


class ModelNotFoundError(ModelError):
    """A model folder or one of its files is missing."""


class UnsupportedModelError(ModelError):
    """The architecture, or a feature that the checkpoint's configuration asks for, is not supported."""


class InvalidCheckpointError(ModelError):
    """A tensor is missing, or its shape or type is not what the configuration says."""


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


class EngineDeadError(EngineError):
    """The engine process is gone; `str()` holds its last words if it left any."""
