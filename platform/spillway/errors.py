"""What the platform raises at its user, in one tree; every message says what to do. The CLI turns it into one line.

::

    SpillwayError                  exit status 1
     ├─ UsageError                 you misused me (exit status 2)
     │   └─ ConfigurationError     a setting is wrong: names it as it was written, what was given and what is allowed
     ├─ StartError                 it could not start: a port is taken, a folder is locked, no engine loads
     └─ InstanceError              a running instance could not be asked
         ├─ NotRunningError        nothing answers
         └─ OrderRefusedError      it answered no
"""

from typing import ClassVar


class SpillwayError(Exception):
    """Base of all errors that are told to the user as one line."""

    exit_status: ClassVar[int] = 1


class UsageError(SpillwayError):
    """The command line is wrong."""

    exit_status: ClassVar[int] = 2


class ConfigurationError(UsageError):
    """A setting is wrong."""


class StartError(SpillwayError):
    """The platform could not start."""


class InstanceError(SpillwayError):
    """A running instance could not be asked."""


class NotRunningError(InstanceError):
    """Nothing answers there."""


class OrderRefusedError(InstanceError):
    """The instance said no."""
