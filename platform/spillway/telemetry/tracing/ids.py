"""Ids of traces and spans: random, seeded once from the system, without a system call for each."""

import hashlib
import os
import random
from collections.abc import Callable

_ALL_64 = (1 << 64) - 1


class Ids:
    """Draws ids; never the invalid ones of all zeros. For one thread, or under its caller's lock."""

    def __init__(self, seed: bytes | None = None) -> None:
        """`seed` is for tests; without one it is the system's randomness."""
        self._bits: Callable[[int], int] = random.Random(os.urandom(32) if seed is None else seed).getrandbits

    def trace_id(self) -> bytes:
        """Return 16 bytes; the low 64 bits are uniform, as sampling by ratio needs them."""
        return (self._bits(128) or 1).to_bytes(16, "big")

    def span_id(self) -> bytes:
        """Return 8 bytes."""
        return (self._bits(64) or 1).to_bytes(8, "big")


class ChildIds:
    """Ids of the spans below one: the same whenever they are asked for, whoever asks."""

    def __init__(self, trace_id: bytes, span_id: bytes) -> None:
        self._of = trace_id + span_id
        self._drawn = 0

    def span_id(self) -> bytes:
        """Return the next 8 bytes."""
        self._drawn += 1
        return hashlib.blake2b(self._of + self._drawn.to_bytes(4, "big"), digest_size=8).digest()


def low_64(trace_id: bytes) -> int:
    """Return the part of a trace's id that sampling by ratio looks at."""
    return int.from_bytes(trace_id[8:], "big") & _ALL_64
