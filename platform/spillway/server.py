"""uvicorn as a part of a process that decides for itself when to begin and when to end: of gateways, and of ops."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from spillway.settings import NetworkSettings


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would end a process by the signal, and with a word when it listens."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_started = on_started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self._on_started()

    def end(self, *, at_once: bool = False) -> None:
        """Stop accepting and return from `serve`: when answers have left, or at once."""
        self.force_exit = self.force_exit or at_once
        self.should_exit = True


def uvicorn_config(app: Any, network: NetworkSettings, *, farewell_s: int, **more: Any) -> uvicorn.Config:
    """Return uvicorn's configuration, with what is the same on both ports.

    `farewell_s` is how long answers may take to leave once the server ends; `more` is what one port alone needs.
    """
    return uvicorn.Config(
        app,
        loop="none",  # the process has made one
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # a gateway has its own, without paths that hold secrets
        server_header=False,
        backlog=network.backlog,
        timeout_graceful_shutdown=farewell_s,
        ssl_certfile=network.tls_certificate,
        ssl_keyfile=network.tls_key,
        **more,
    )
