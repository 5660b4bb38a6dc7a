"""What is told to the user as one line, with the exit status that a script can rely on.

::

    LoadError
     ├─ CampaignError       2   the campaign's file, its trace or an argument is wrong
     └─ UnreachableError    4   nothing answers at the target
"""

from enum import IntEnum
from typing import ClassVar


class Exit(IntEnum):
    """Exit statuses of `spillway load`; a lower one in this list counts where several would fit."""

    MET = 0
    MISSED = 1
    INVALID = 3
    """The generator lagged: what was measured is not the server's alone."""
    UNREACHABLE = 4
    WRONG = 2
    """Campaign or arguments."""


class LoadError(Exception):
    """Base of all errors that are told as one line."""

    exit_status: ClassVar[int] = Exit.WRONG


class CampaignError(LoadError):
    """A campaign cannot be run as it is written."""


class UnreachableError(LoadError):
    """Nothing answers."""

    exit_status: ClassVar[int] = Exit.UNREACHABLE
