"""What can go wrong with a drill, apart from the promise it judges.

::

    ChaosError
     ├─ UsageError       the command line, or a drill's file, is wrong                      exit status 2
     └─ InvalidError     the run says nothing about the promise                             exit status 3
         ├─ StageError       the platform, its load or a link could not be set up
         ├─ FaultError       a fault could not be made, or did not take hold
         ├─ BlastError       a fault would have hit more than the drill may
         └─ AbortedError     the abort rule, or somebody, ended it
"""


class ChaosError(Exception):
    """See the module."""

    exit_status = 1


class UsageError(ChaosError):
    """What was asked for makes no sense; says what to do."""

    exit_status = 2


class InvalidError(ChaosError):
    """Nothing can be concluded."""

    exit_status = 3


class StageError(InvalidError):
    """There is nothing to drill on."""


class FaultError(InvalidError):
    """Nothing was broken, so nothing is shown."""


class BlastError(InvalidError):
    """The target is not Spillway's own, or there are too many."""


class AbortedError(InvalidError):
    """Ended early, and restored."""
