"""A wall clock that a drill may set, for all processes of an instance: the machine's own is nobody's to change.

`install` makes a folder with a `sitecustomize`, which Python loads at its start where `PYTHONPATH` names it. There,
`time.time` and `time.time_ns` add an offset that stands in a file, so that one write moves all processes at once. The
monotonic clock goes on as ever, as it does when a real clock is set.
"""

import struct
from pathlib import Path
from typing import Final

_VARIABLE: Final = "SPILLWAY_DRILL_CLOCK"
_SECONDS: Final = struct.Struct("<d")
_SHIM: Final = f'''"""Adds the offset in the file that {_VARIABLE} names to the wall clock."""

import mmap
import os
import struct
import time

with open(os.environ["{_VARIABLE}"], "rb") as _file:
    _page = mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)
_read, _time, _time_ns = struct.Struct("<d").unpack_from, time.time, time.time_ns
time.time = lambda: _time() + _read(_page)[0]
time.time_ns = lambda: _time_ns() + int(_read(_page)[0] * 1e9)
'''


def install(folder: Path, clock: Path) -> dict[str, str]:
    """Make the folder and the file, and return the environment in which processes read it."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_SHIM, encoding="utf-8")
    set_offset(clock, 0.0)
    return {"PYTHONPATH": str(folder), _VARIABLE: str(clock)}


def set_offset(clock: Path, seconds: float) -> None:
    """Set the clock by so much off the machine's; processes that run see it at once."""
    if not clock.exists():
        clock.write_bytes(_SECONDS.pack(seconds))
        return
    with clock.open("r+b") as file:  # the same file: it is mapped
        file.write(_SECONDS.pack(seconds))
