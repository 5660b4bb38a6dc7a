"""`python -m spillway_load CAMPAIGN`; see `command`."""

import sys

from spillway_load.command import main

if __name__ == "__main__":
    sys.exit(main())
