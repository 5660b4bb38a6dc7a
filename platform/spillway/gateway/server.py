"""What a gateway adds to the server that it shares with ops: its limits, its socket, its warnings."""

import logging
import socket
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import uvicorn

from spillway.gateway.http import HttpConnection
from spillway.server import uvicorn_config
from spillway.settings import LimitSettings, NetworkSettings
from spillway_wire.oplog import RateLimited

KEEP_ALIVE_S: Final = 75
"""How long an idle connection is kept; longer than the 60 s after which usual load balancers give one up."""
FAREWELL_S: Final = 3
"""How long answers may take to leave once the server ends."""
_IDLE_BEFORE_PROBES_S: Final = 30
_PROBE_EVERY_S: Final = 10
_PROBES: Final = 3


def server_config(app: Any, network: NetworkSettings, patience_s: Callable[[], float]) -> uvicorn.Config:
    """Return uvicorn's configuration; `patience_s` says how many seconds a request's head may take."""
    return uvicorn_config(
        app,
        network,
        farewell_s=FAREWELL_S,
        http=partial(HttpConnection, patience_s=patience_s),
        proxy_headers=bool(network.trusted_proxies),
        forwarded_allow_ips=list(network.trusted_proxies),
        timeout_keep_alive=KEEP_ALIVE_S,
    )


class ServerWarnings(logging.Handler):
    """Turns uvicorn's warnings into events for the operator, never too many: any client can cause some."""

    def __init__(self, log: Callable[..., None]) -> None:
        super().__init__(logging.WARNING)
        self._log = RateLimited(log, "server_warning", time.monotonic_ns)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one, without its trace: what it says can quote a request."""
        self._log(message=record.getMessage())

    def install(self) -> None:
        """Become the one handler of uvicorn's logger."""
        logger = logging.getLogger("uvicorn")
        logger.handlers[:] = [self]
        logger.propagate = False


_UNSENT_BYTES: Final = 131_072
"""That the kernel takes for a client that does not read. It would take megabytes: most answers fit, and nobody notices
that they are not read."""


def listening_socket(fd: int, limits: LimitSettings) -> socket.socket:
    """Return the inherited socket, set up so that connections of clients that vanished without a word end.

    Accepted connections inherit the options: the kernel probes idle ones, and gives up those whose client takes
    nothing. It waits longer than `slow_reader_s`, after which a stream is ended here and the reason known; an answer
    that has left this process in one piece is the kernel's alone.
    """
    listener = socket.socket(fileno=fd)
    if listener.family in {socket.AF_INET, socket.AF_INET6}:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if sys.platform == "linux":
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_BEFORE_PROBES_S)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_EVERY_S)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
            give_up_ms = int((2 * limits.slow_reader_s + _PROBE_EVERY_S) * 1000)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, give_up_ms)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
    return listener


_TCP_INFO_BYTES: Final = 32
_UNACKED_OFFSET: Final = 24
"""Of a listening socket it is the number of connections that wait to be accepted."""


def accept_queue(listener: socket.socket) -> int | None:
    """Return how many connections wait to be accepted, over all processes that share the socket; None if unknown."""
    if sys.platform != "linux" or listener.family not in {socket.AF_INET, socket.AF_INET6}:
        return None
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:  # closed
        return None
    waiting: int = struct.unpack_from("I", info, _UNACKED_OFFSET)[0]
    return waiting
