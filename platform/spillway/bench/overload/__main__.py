"""`python -m spillway.bench.overload`, also as `spillway bench overload`; see the package."""

import sys

from spillway.bench.overload.command import main

if __name__ == "__main__":
    sys.exit(main())
