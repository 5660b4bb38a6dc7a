"""Listening sockets: opened by the supervisor, handed down, so that a restart of whoever serves them refuses nobody."""

import errno
import socket

from spillway.errors import StartError


def listen(host: str, port: int, backlog: int, *, setting: str) -> socket.socket:
    """Open a listening TCP socket; port 0 takes a free one.

    Raises `StartError` that names the address, what is wrong with it and the setting that gave it (`setting`, such as
    `port`).
    """
    where = f"{host} port {port} (setting {setting})"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise StartError(f"cannot listen on {where}: the host is not known here ({error.strerror})") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise StartError(f"cannot listen on {where}: {_advice(error, setting)}") from None
    listener.setblocking(False)
    return listener


def _advice(error: OSError, setting: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"another process does; stop it, or set {setting} to another port or to 0 for a free one"
        case errno.EACCES:
            return f"only root may take this port; set {setting} to 1024 or more"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address"
        case _:
            return str(error.strerror)


def url(listener: socket.socket, host: str, *, tls: bool) -> str:
    """Return the URL at which `listener` is reached; a wildcard address is reached on loopback, too."""
    return url_of(host, listener.getsockname()[1], tls=tls)


def url_of(host: str, port: int, *, tls: bool) -> str:
    """Return the URL of a port on `host`, as `url` does."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - shown, not bound
    return f"{'https' if tls else 'http'}://{f'[{shown}]' if ':' in shown else shown}:{port}"
