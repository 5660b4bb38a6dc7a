"""Where compiled kernels are kept, so that only the first start of a version on a machine compiles.

Numba decides whether a cached function is still good by the file it stands in alone, not by those of the functions it
calls: an edited kernel would go on running in its old form inside its callers. So the folder's name holds a digest of
all sources that hold kernels, and of the one that says how they are compiled. Numba itself adds the processor and its
own version to each entry.
"""

import hashlib
import os
from pathlib import Path

import numba

_SOURCES = ("compiled.py", "cpu/*.py", "sampling/*.py")

WARMING = "warming up"
COMPILING = "warming up: compiling kernels, once on this machine"
"""Phases of loading, as they are reported; the second where no kernels are kept yet."""


def use_kernel_cache() -> Path:
    """Point numba at the folder for these sources; called by packages of kernels before they define one.

    `NUMBA_CACHE_DIR` moves the cache; by default it is under the user's cache home.
    """
    home = os.environ.get("NUMBA_CACHE_DIR") or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "spillway", "kernels"
    )
    folder = Path(home) / _digest(Path(__file__).parent)
    numba.config.CACHE_DIR = str(folder)
    return folder


def warm_up_phase(folder: Path) -> str:
    """Return what warm-up will be busy with, by what `folder` of `use_kernel_cache` holds now.

    To be asked before a model is loaded: small kernels are compiled, and kept, on the way.
    """
    # numba makes the folders when a kernel is defined, and an index of what it has compiled when that is kept
    return WARMING if any(folder.rglob("*.nbi")) else COMPILING


def _digest(package: Path) -> str:
    digest = hashlib.sha256()
    for pattern in _SOURCES:
        for source in sorted(package.glob(pattern)):
            digest.update(source.name.encode())
            digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
