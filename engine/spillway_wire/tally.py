"""A gateway's counters in shared memory: one writer, read by the supervisor, also after the writer's death.

Every HTTP request to a model's endpoint is one arrival and ends in one outcome; so at all times ::

    arrivals = sum of outcomes + open requests

and what a dead gateway had open is known: the supervisor books it as `gateway_failed`. Eight bytes each,
little-endian, aligned, so that a reader never sees half of one.
"""

import mmap
from pathlib import Path
from typing import Final

from spillway_wire.outcomes import Outcome

COUNTERS: Final = (
    "arrivals",
    *(f"outcome_{outcome.value}" for outcome in Outcome),
    "prompt_tokens",
    "output_tokens",
    "recoveries",
    "clients_disconnected",
)
"""Names by place; added to at the end only."""
TALLY_BYTES: Final = 4096

ARRIVALS: Final = 0
PROMPT_TOKENS: Final = COUNTERS.index("prompt_tokens")
OUTPUT_TOKENS: Final = COUNTERS.index("output_tokens")
RECOVERIES: Final = COUNTERS.index("recoveries")
CLIENTS_DISCONNECTED: Final = COUNTERS.index("clients_disconnected")
OUTCOME: Final = {outcome: COUNTERS.index(f"outcome_{outcome.value}") for outcome in Outcome}


def create_tally(path: Path) -> None:
    """Make the file of a tally that has counted nothing; for the process that owns it."""
    path.write_bytes(bytes(TALLY_BYTES))


class TallyWriter:
    """The counting side."""

    def __init__(self, path: Path | None = None) -> None:
        """Write into the file at `path`, or into memory of its own that nobody reads."""
        if path is None:
            self._memory = mmap.mmap(-1, TALLY_BYTES)
        else:
            with path.open("r+b") as file:
                self._memory = mmap.mmap(file.fileno(), TALLY_BYTES, access=mmap.ACCESS_WRITE)
        self._counts = memoryview(self._memory).cast("Q")

    def add(self, counter: int, amount: int = 1) -> None:
        """Count."""
        self._counts[counter] += amount

    def arrive(self) -> None:
        """Count an arrival: from now on a request is open."""
        self._counts[ARRIVALS] += 1

    def finish(self, outcome: Outcome) -> None:
        """Count the one outcome of an arrival."""
        self._counts[OUTCOME[outcome]] += 1

    @property
    def open_requests(self) -> int:
        """Arrivals without an outcome yet."""
        return self._counts[ARRIVALS] - sum(self._counts[place] for place in OUTCOME.values())

    def close(self) -> None:
        """Let go of the memory; what was counted stays. Idempotent."""
        self._counts.release()
        self._memory.close()


class TallyReader:
    """The supervisor's side; it may outlive the writer."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._memory = mmap.mmap(file.fileno(), TALLY_BYTES, access=mmap.ACCESS_READ)
        self._counts = memoryview(self._memory).cast("Q")

    def read(self) -> dict[str, int]:
        """Return all counters by name."""
        return dict(zip(COUNTERS, self._counts, strict=False))

    def close(self) -> None:
        """Let go of the memory. Idempotent."""
        self._counts.release()
        self._memory.close()
