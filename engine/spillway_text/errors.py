"""Everything this package raises, in one tree.

::

    TextError
     ├─ ModelError                the model cannot be served, known at start
     │   ├─ ModelNotFoundError        a folder or file is missing
     │   └─ InvalidCheckpointError    a file of the folder is broken, or says what cannot be
     └─ InvalidPromptError        this conversation can never be rendered: the caller's fault
"""


class TextError(Exception):
    """Base of all errors of this package."""


class ModelError(TextError):
    """The model cannot be served."""


class ModelNotFoundError(ModelError):
    """A model folder or one of its files is missing."""


class InvalidCheckpointError(ModelError):
    """A file is not what it should be: not JSON, no tokenizer, a key or a tensor of the wrong shape or type."""


class InvalidPromptError(TextError):
    """The chat template refused the messages, or there is none."""
