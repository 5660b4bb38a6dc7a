"""Where compiled kernels are kept, so that only the first start of a version on a machine compiles.

Numba decides whether a cached function is still good by the file it stands in alone, not by those of the functions it
calls: an edited kernel would go on running in its old form inside its callers. So the folder's name holds a digest of
all sources that hold kernels. Numba itself adds the processor and its own version to each entry.
"""

import hashlib
import os
from pathlib import Path

import numba

_KERNEL_PACKAGES = ("cpu", "sampling")


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


def _digest(package: Path) -> str:
    digest = hashlib.sha256()
    for kernels in _KERNEL_PACKAGES:
        for source in sorted((package / kernels).glob("*.py")):
            digest.update(source.name.encode())
            digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
