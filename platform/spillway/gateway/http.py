"""uvicorn's HTTP/1.1 connection, with two things it does not offer: a way to drop it at once, and our error body."""

import socket
import struct
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from spillway.gateway.problems import body, invalid
from spillway.gateway.reply import ABORT

_NO_LINGER: Final = struct.pack("ii", 1, 0)


class HttpConnection(HttpToolsProtocol):
    """One connection."""

    def on_message_begin(self) -> None:
        """Let the application drop the connection: closing it would wait for a client that does not read."""
        super().on_message_begin()
        self.scope[ABORT] = self._drop  # type: ignore[typeddict-unknown-key]

    def _drop(self) -> None:
        """Drop what is unsent in this process, and in the kernel too, which else would go on offering it."""
        if not self.transport.is_closing():
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        said = body(invalid(msg))
        head = (
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n" % len(said)
        )
        self.transport.write(head + said)
        self.transport.close()
