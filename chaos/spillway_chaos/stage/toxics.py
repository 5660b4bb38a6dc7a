"""Toxics: what a poisoned link does to data, with the names and attributes of Toxiproxy 2.12. Pure.

==============  =========================================  ==========================================================
toxic           attributes                                 what happens
==============  =========================================  ==========================================================
`latency`       `latency`, `jitter` (ms)                   data comes later
`bandwidth`     `rate` (KB/s)                              data comes no faster
`slow_close`    `delay` (ms)                               the connection's end comes later
`timeout`       `timeout` (ms)                             no data passes; closed after so long, 0: never
`reset_peer`    `timeout` (ms)                             the connection is reset after so long
`slicer`        `average_size`, `size_variation` (bytes),  data comes in small pieces
                `delay` (us)
`limit_data`    `bytes`                                    the connection is closed behind so many
`corrupt`       `every` (bytes)                            ours: one bit of every so many bytes is turned
==============  =========================================  ==========================================================

A link that is `down` is not a toxic there, nor here: its port is closed, and its connections are, too.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from spillway_chaos.errors import UsageError

NotNegative = Annotated[float, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Stream = Literal["upstream", "downstream"]


class _Toxic(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", kw_only=True):
    pass


class Latency(_Toxic, tag="latency", frozen=True, kw_only=True):
    """See the table."""

    latency: NotNegative
    jitter: NotNegative = 0.0


class Bandwidth(_Toxic, tag="bandwidth", frozen=True, kw_only=True):
    """See the table."""

    rate: Annotated[float, Meta(gt=0)]


class SlowClose(_Toxic, tag="slow_close", frozen=True, kw_only=True):
    """See the table."""

    delay: NotNegative


class Timeout(_Toxic, tag="timeout", frozen=True, kw_only=True):
    """See the table."""

    timeout: NotNegative = 0.0


class ResetPeer(_Toxic, tag="reset_peer", frozen=True, kw_only=True):
    """See the table."""

    timeout: NotNegative = 0.0


class Slicer(_Toxic, tag="slicer", frozen=True, kw_only=True):
    """See the table."""

    average_size: Positive
    size_variation: Annotated[int, Meta(ge=0)] = 0
    delay: NotNegative = 0.0


class LimitData(_Toxic, tag="limit_data", frozen=True, kw_only=True):
    """See the table."""

    bytes: Annotated[int, Meta(ge=0)]


class Corrupt(_Toxic, tag="corrupt", frozen=True, kw_only=True):
    """See the table."""

    every: Positive = 64


Toxic = Latency | Bandwidth | SlowClose | Timeout | ResetPeer | Slicer | LimitData | Corrupt


class Piece(msgspec.Struct, frozen=True):
    """Data that is passed on after a delay."""

    delay_s: float
    data: bytes


def toxic_of(kind: str, attributes: dict[str, Any]) -> Toxic:
    """Return a toxic by its name. Raises `UsageError` that says what is wrong."""
    try:
        found: Toxic = msgspec.convert({"type": kind, **attributes}, Toxic)
    except msgspec.ValidationError as error:
        raise UsageError(f"the toxic {kind!r} with {attributes}: {error}") from None
    return found


def pieces(toxics: Sequence[Toxic], data: bytes, waited_s: float, randomness: random.Random) -> Iterator[Piece]:
    """Yield what becomes of `data`, which has been `waited_s` in the proxy already; toxics act in their order."""
    delay_s, parts, per_part_s = 0.0, [data], 0.0
    for toxic in toxics:
        match toxic:
            case Latency():
                ms = toxic.latency + randomness.uniform(-toxic.jitter, toxic.jitter)
                delay_s += max(0.0, ms / 1e3 - waited_s)
            case Bandwidth():
                delay_s += len(data) / (toxic.rate * 1e3)
            case Slicer():
                parts = [cut for part in parts for cut in _sliced(part, toxic, randomness)]
                per_part_s += toxic.delay / 1e6
            case Corrupt():
                parts = [_corrupted(part, toxic.every, randomness) for part in parts]
            case _:
                pass  # of connections, not of data
    for place, part in enumerate(parts):
        yield Piece((delay_s if place == 0 else 0.0) + per_part_s, part)


def _sliced(data: bytes, toxic: Slicer, randomness: random.Random) -> Iterator[bytes]:
    while data:
        variation = min(toxic.size_variation, toxic.average_size - 1)
        size = toxic.average_size + randomness.randint(-variation, variation)
        yield data[:size]
        data = data[size:]


def _corrupted(data: bytes, every: int, randomness: random.Random) -> bytes:
    spoiled = bytearray(data)
    for start in range(0, len(spoiled), every):
        place = randomness.randrange(start, min(start + every, len(spoiled)))
        spoiled[place] ^= 1 << randomness.randrange(8)
    return bytes(spoiled)
