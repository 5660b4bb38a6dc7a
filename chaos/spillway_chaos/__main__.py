"""`python -m spillway_chaos` is `spillway chaos`."""

import sys

from spillway_chaos.command import main

if __name__ == "__main__":
    sys.exit(main())
