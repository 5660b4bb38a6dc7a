"""`python -m spillway.gateway`: a gateway process, started by the supervisor."""

import sys

from spillway.gateway.process import main

if __name__ == "__main__":
    sys.exit(main())
