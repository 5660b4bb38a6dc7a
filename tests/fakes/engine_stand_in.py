"""The stand-in engine as a file to start, with the flags of `python -m spillway_engine`."""

import sys

from spillway_engine.bench.stand_in import load_stand_in
from spillway_engine.process.main import main

if __name__ == "__main__":
    sys.exit(main(load=load_stand_in))
