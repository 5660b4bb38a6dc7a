"""Frames on a byte stream: a 4-byte big-endian length, then one MessagePack message of that many bytes.

::

    00 00 00 2A │ 9x A6 'Submit' …            42 bytes of message follow their length

Whoever reads a socket must never be killed by what it says, so everything wrong is a *value*, `Malformed`:

    what arrived                         framing   the connection
    a frame that does not decode         intact    goes on; the frame is skipped
    a length above the bound             lost      must be closed: nobody knows where the next frame begins
"""

import struct
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

MAX_FRAME_BYTES = 16 * 2**20
"""Bound of one message, both ways. A prompt of a million tokens takes 5 MB."""

_LENGTH = struct.Struct(">I")

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Malformed:
    """Bytes that are no message, and whether the stream can still be read after them."""

    reason: str
    framing_lost: bool = False


class FrameTooLargeError(ValueError):
    """The message to send is larger than the receiver's bound; nothing was written."""


class FrameEncoder:
    """Turns messages into frames in one buffer that it keeps."""

    __slots__ = ("_buffer", "_encoder", "max_frame_bytes")

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self.max_frame_bytes = max_frame_bytes
        self._encoder = msgspec.msgpack.Encoder()
        self._buffer = bytearray(_LENGTH.size)

    def encode(self, message: msgspec.Struct) -> bytes:
        """Return the frame of `message`, or raise `FrameTooLargeError`."""
        buffer = self._buffer
        self._encoder.encode_into(message, buffer, _LENGTH.size)
        num_bytes = len(buffer) - _LENGTH.size
        if num_bytes > self.max_frame_bytes:
            self._buffer = bytearray(_LENGTH.size)  # do not keep the giant
            raise FrameTooLargeError(
                f"{type(message).__name__} takes {num_bytes} bytes; at most {self.max_frame_bytes} fit into a frame"
            )
        _LENGTH.pack_into(buffer, 0, num_bytes)
        return bytes(buffer)


class FrameDecoder(Generic[M]):
    """Turns bytes, split anywhere, back into messages. After `framing_lost` it yields nothing more.

    `types` is a union of tagged structs, such as `ToEngine`; anything else decodes to `Malformed`.
    """

    __slots__ = ("_decoder", "_lost", "_pending", "max_frame_bytes")

    def __init__(self, types: object, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self.max_frame_bytes = max_frame_bytes
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(types)
        self._pending = bytearray()
        self._lost = False

    @property
    def num_pending(self) -> int:
        """Bytes of an incomplete frame; at the end of a stream anything but 0 means that it was cut."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[M | Malformed]:
        """Return what `data` completes, in order. Never raises, whatever the bytes."""
        if self._lost:
            return []
        if not self._pending:  # the usual case: whole frames, decoded where they lie
            found, used = self._scan(data)
            self._pending += data[used:]
        else:
            self._pending += data
            found, used = self._scan(self._pending)
            del self._pending[:used]
        return found

    def _scan(self, data: bytes | bytearray) -> tuple[list[M | Malformed], int]:
        """Decode the whole frames at the front of `data`; return them and the number of bytes they took."""
        found: list[M | Malformed] = []
        used = 0
        with memoryview(data) as view:
            while len(view) - used >= _LENGTH.size:
                (num_bytes,) = _LENGTH.unpack_from(view, used)
                if num_bytes > self.max_frame_bytes:
                    self._lost = True
                    reason = f"a frame of {num_bytes} bytes; at most {self.max_frame_bytes} are allowed"
                    found.append(Malformed(reason, framing_lost=True))
                    return found, len(view)  # the rest means nothing
                end = used + _LENGTH.size + num_bytes
                if end > len(view):
                    break
                with view[used + _LENGTH.size : end] as body:
                    found.append(self._decode(body))
                used = end
        return found, used

    def _decode(self, body: memoryview) -> M | Malformed:
        # Besides its own errors msgspec lets through invalid UTF-8 (ValueError), nesting deeper than the interpreter
        # allows, and numbers too large for their type. Lengths that lie about their content are refused before any
        # memory is taken for them; MemoryError is here for an honest frame at a bad moment.
        try:
            return self._decoder.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError, MemoryError) as error:
            return Malformed(f"{type(error).__name__}: {error}"[:200])
