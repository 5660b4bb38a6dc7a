"""What the codec makes of frames that are no messages."""

import msgspec
import pytest

from spillway_wire.codec import FrameDecoder, FrameEncoder, FrameTooLargeError, Malformed
from spillway_wire.continuity import Gap, fresh_part
from spillway_wire.messages import Abort, Delta, Submit, ToEngine

ABORT = Abort(request_id="x")


def decoder() -> FrameDecoder[msgspec.Struct]:
    return FrameDecoder(ToEngine, max_frame_bytes=100)


def test_a_frame_is_its_length_and_its_message() -> None:
    frame = FrameEncoder().encode(ABORT)
    assert frame[:4] == len(frame[4:]).to_bytes(4, "big")
    assert msgspec.msgpack.decode(frame[4:]) == ["Abort", "x", 1, None]


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", b"abc", b"\x93\xa5Abort\xa2\xff\xfe\x01", b"\x91" * 99, b"\x92\xa5Abort\xc0", b"\x91\xa5Other"],
    ids=["empty", "no MessagePack", "trailing", "no UTF-8", "deep", "wrong type", "unknown tag"],
)
def test_a_frame_that_does_not_decode_is_skipped(body: bytes) -> None:
    frame = len(body).to_bytes(4, "big") + body
    found = decoder().feed(frame + FrameEncoder().encode(ABORT))
    assert isinstance(found[0], Malformed)
    assert not found[0].framing_lost
    assert found[1:] == [ABORT]


def test_very_deep_nesting_is_malformed_too() -> None:
    body = b"\x91" * 100_000
    (found,) = FrameDecoder[msgspec.Struct](ToEngine).feed(len(body).to_bytes(4, "big") + body)
    assert isinstance(found, Malformed)


def test_a_length_above_the_bound_loses_the_framing_and_what_follows() -> None:
    reader = decoder()
    good = FrameEncoder().encode(ABORT)
    assert reader.feed(good + b"\x00\x00\x00\x65" + good) == [
        ABORT,
        Malformed("a frame of 101 bytes; at most 100 are allowed", framing_lost=True),
    ]
    assert reader.feed(good) == []
    assert reader.num_pending == 0


def test_a_message_above_the_bound_is_not_sent_and_the_next_one_is() -> None:
    encoder = FrameEncoder(max_frame_bytes=100)
    with pytest.raises(FrameTooLargeError, match=r"Submit takes .* at most 100"):
        encoder.encode(Submit(request_id="x", prompt_token_ids=[70_000] * 100))
    assert decoder().feed(encoder.encode(ABORT)) == [ABORT]


def delta(position: int, *token_ids: int) -> Delta:
    return Delta(request_id="x", attempt=1, choice=0, position=position, token_ids=token_ids)


@pytest.mark.parametrize(
    ("arrives", "num_known", "fresh"),
    [
        (delta(3, 7, 8), 3, delta(3, 7, 8)),
        (delta(2, 6, 7, 8), 3, delta(3, 7, 8)),
        (delta(0, 1, 2), 3, delta(3)),
        (delta(4, 8), 3, Gap(expected=3, got=4)),
    ],
    ids=["next", "overlapping", "repeated", "gap"],
)
def test_repeats_are_dropped_and_gaps_refused(arrives: Delta, num_known: int, fresh: Delta | Gap) -> None:
    assert fresh_part(arrives, num_known) == fresh
