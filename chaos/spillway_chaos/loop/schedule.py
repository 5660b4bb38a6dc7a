"""Something every so often, until somebody ends it; a slow round shifts none after it."""

import math
import sys
import time
from collections.abc import Callable


def repeat(work: Callable[[], int], every_s: float, *, rounds: int | None = None) -> int:
    """Do it every so often; return the worst status. `rounds`: no more than so many."""
    begun, worst, done = time.monotonic(), 0, 0
    while True:
        worst = max(worst, work())
        done += 1
        if rounds is not None and done >= rounds:
            return worst
        passed = time.monotonic() - begun
        due = math.ceil(passed / every_s) * every_s
        sys.stderr.write(f"the next round begins in {due - passed:.0f} s\n")
        time.sleep(due - passed)
