"""Where a process listens: `unix:/path/to/socket` or `tcp:host:port`. One address per incarnation."""

import os
from dataclasses import dataclass

MAX_UNIX_PATH_BYTES = 107
"""Linux's `sun_path` is 108 bytes with its closing NUL."""


class AddressError(ValueError):
    """The text is no address that a process can listen on."""


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A socket file; its folder should be the owner's alone (0700)."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host and a port; port 0 lets the system choose when listening."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp:[{self.host}]:{self.port}" if ":" in self.host else f"tcp:{self.host}:{self.port}"


Address = UnixAddress | TcpAddress


def parse_address(text: str) -> Address:
    """Read an address, or raise `AddressError` that says what is wrong with it."""
    scheme, _, rest = text.partition(":")
    if scheme == "unix":
        num_bytes = len(os.fsencode(rest))
        if not rest:
            raise AddressError(f"{text!r} names no path; write unix:/path/to/socket")
        if num_bytes > MAX_UNIX_PATH_BYTES:
            raise AddressError(
                f"the socket path {rest!r} is {num_bytes} bytes long; at most {MAX_UNIX_PATH_BYTES} are possible"
            )
        return UnixAddress(rest)
    if scheme == "tcp":
        host, _, port = rest.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise AddressError(f"{text!r} is no TCP address; write tcp:host:port with a port from 0 to 65535")
        return TcpAddress(host.removeprefix("[").removesuffix("]"), int(port))
    raise AddressError(f"{text!r} is no address; write unix:/path/to/socket or tcp:host:port")
