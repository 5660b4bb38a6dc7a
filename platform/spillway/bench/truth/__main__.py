"""`python -m spillway.bench.truth`."""

import sys

from spillway.bench.truth.command import main

if __name__ == "__main__":
    sys.exit(main())
