"""`python -m spillway_engine`: one engine process."""

import os
import sys

from spillway_engine.process.main import main

if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Sockets, page and runner are closed. Taking the interpreter and torch apart would take seconds on a busy machine,
    # in which whoever restarts this engine could only wait.
    os._exit(status)
