"""`python -m spillway.bench.simulation`; see `command`."""

import sys

from spillway.bench.simulation.command import main

if __name__ == "__main__":
    sys.exit(main())
