"""What this machine gives: cores and memory."""

import os

import psutil


def num_threads() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_bytes() -> int:
    """Return how much memory can be taken now without swapping."""
    return int(psutil.virtual_memory().available)
