"""`python -m spillway_engine.warm`: compile the kernels once, so that no engine's first start has to.

Numba keeps what it compiles (see `kernel_cache`) for each type of stored weights; this loads the demo
model in all three.
"""

import sys
import time

from spillway_engine.settings import DTYPES, EngineSettings
from spillway_engine.startup import load_engine


def main() -> None:
    """Load and close the demo model in every type."""
    for dtype in DTYPES[1:]:
        started = time.perf_counter()
        sys.stdout.write(f"compiling kernels for {dtype} … ")
        sys.stdout.flush()
        load_engine(EngineSettings(model="demo", dtype=dtype, kv_cache_bytes=1 << 22)).runner.close()
        sys.stdout.write(f"{time.perf_counter() - started:.0f} s\n")


if __name__ == "__main__":
    main()
