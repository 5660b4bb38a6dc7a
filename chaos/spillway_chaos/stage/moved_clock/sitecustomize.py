"""Moves the wall clock of a Python process: the interpreter imports this by itself, since its folder is on PYTHONPATH.

Process: every child of a platform whose drill moves clocks, and its supervisor. What is added stands in a file that all
of them map, and the stage writes. Monotonic clocks are let alone, as they are when somebody sets a machine's clock; so
is what asks the kernel without Python, such as a database's own time stamps.
"""

import mmap
import os
import struct
import time

_DOUBLE = struct.Struct("d")
_file = os.open(os.environ["SPILLWAY_DRILL_CLOCK"], os.O_RDONLY)
_offset = mmap.mmap(_file, _DOUBLE.size, prot=mmap.PROT_READ)
os.close(_file)
_time, _time_ns = time.time, time.time_ns


def _moved() -> float:
    seconds: float = _DOUBLE.unpack_from(_offset)[0]
    return seconds


time.time = lambda: _time() + _moved()
time.time_ns = lambda: _time_ns() + int(_moved() * 1_000_000_000)
