"""The wall clock of the platform's processes, which a drill can move; monotonic clocks go on as they are.

libfaketime was tried: its 0.9.10 breaks `time.sleep` where monotonic clocks are let alone. Processes of the platform
are Python, so their interpreters can be asked instead (`moved_clock`).
"""

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_FILE: Final = "clock"
_SHIM: Final = Path(__file__).parent / "moved_clock"


def environment(folder: Path) -> Mapping[str, str]:
    """Return what has Python processes add to their clock what stands in the folder."""
    (folder / _FILE).write_bytes(struct.pack("d", 0.0))
    paths = [str(_SHIM), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "SPILLWAY_DRILL_CLOCK": str(folder / _FILE)}


def move(folder: Path, seconds: float) -> None:
    """Move the clock by so much against the true one, in all processes at once."""
    with (folder / _FILE).open("r+b") as file:  # in place: it is mapped
        file.write(struct.pack("d", seconds))
