"""A child dies with the process that started it, also when that one is killed and can say nothing."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


class ParentGoneError(Exception):
    """The process that started this one is not there any more."""


def tie_to_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when the thread that started it ends (Linux); raise if that has happened.

    Elsewhere there is no such signal, and `parent_is_alive` has to be asked now and then.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if not parent_is_alive(parent_pid):  # it may have died before the request reached the kernel
        raise ParentGoneError(f"the parent of this process is {os.getppid()}, not {parent_pid}")


def parent_is_alive(parent_pid: int) -> bool:
    """Whether the parent is still the one that started this process; an orphan's is another."""
    return os.getppid() == parent_pid
