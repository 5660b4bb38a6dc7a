"""When a request came, which is before a busy gateway reads it.

What a client sends waits in the kernel while the loop is busy, or until its connection is accepted; a clock that starts
in the gateway knows nothing of that wait, and is furthest from the client's stopwatch just when it matters. The kernel
knows: it keeps the time at which data last came on a connection (`tcpi_last_data_recv` of Linux's TCP_INFO).
"""

import socket
import struct
from typing import Final

_LAST_DATA_RECEIVED: Final = struct.Struct("@52xI")
"""Milliseconds since then, after eight bytes and eleven other numbers."""
_COUNTS_FROM_MS: Final = 20
_HALF_A_TICK_MS: Final = 2
"""The kernel counts in ticks, of 4 ms on most machines, and in a virtual machine whose processor is away it misses some
and makes up for them: 14 ms too many were seen. What is shorter than that is no wait."""


def waited_s(connection: socket.socket | None) -> float:
    """Return how many seconds ago the last data came from the network; 0 where nobody knows, or it was just now."""
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return 0.0
    try:
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECEIVED.size)
    except OSError:
        return 0.0
    if len(told) < _LAST_DATA_RECEIVED.size:
        return 0.0
    (milliseconds,) = _LAST_DATA_RECEIVED.unpack(told)
    return 0.0 if milliseconds < _COUNTS_FROM_MS else (milliseconds - _HALF_A_TICK_MS) / 1e3
