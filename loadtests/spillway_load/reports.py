"""What a worker process tells the campaign's: how far it is, and in the end what it saw."""

import msgspec

from spillway_load.record import Record


class Seen(msgspec.Struct):
    """What one worker saw."""

    records: list[Record]
    beats_s: list[float]
    """How late its loop was, every hundredth of a second."""
    cpu_s: float
    scheduling: str


class Told(msgspec.Struct, omit_defaults=True):
    """How far a worker is: a line on its standard output."""

    due: int = 0
    open: int = 0
    fates: dict[str, int] = {}
    pieces: int = 0
    worst_lag_s: float = 0.0
