"""The wall clock of the platform's processes, moved by libfaketime; monotonic clocks go on as they are."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from spillway_chaos.errors import StageError

_PLACES: Final = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
)
FILE: Final = "clock"
"""In the stage's folder: how far the clock is moved, read again by every process for every look at the clock."""


def environment(folder: Path) -> Mapping[str, str]:
    """Return what has processes read their clock from the folder. Raises `StageError`."""
    library = next((place for place in _PLACES if os.access(place, os.R_OK)), None)
    if library is None:
        raise StageError("there is no libfaketime; install it (Debian: apt install libfaketime)")
    move(folder, 0.0)
    return {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(folder / FILE),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }


def move(folder: Path, seconds: float) -> None:
    """Move the clock by so much against the true one."""
    draft = folder / f"{FILE}.new"
    draft.write_text(f"{seconds:+g}\n", encoding="ascii")
    draft.replace(folder / FILE)
