"""What the drills believe of a stream, and the arithmetic of their figures."""

import msgspec
import pytest

from spillway.bench.client import EventReader
from spillway.bench.figures import Spread, quantile
from spillway.bench.streams import Answer, Count, is_exact

COUNT = Count(7, 9)


def chunk(text: str = "", index: int = 0, finish: str | None = None, **more: object) -> bytes:
    delta = {"content": text} if text else {}
    return msgspec.json.encode({"choices": [{"index": index, "delta": delta, "finish_reason": finish}], **more})


def answered(*events: bytes, status: int = 200) -> Answer:
    answer = Answer(status=status, arrivals=[0.0])
    for number, event in enumerate(events):
        answer.add(event, float(number + 1))
    return answer


def usage(tokens: int) -> bytes:
    return msgspec.json.encode({"choices": [], "usage": {"completion_tokens": tokens, "details": {"cached": 1}}})


WHOLE = (chunk("7"), chunk(" 8"), chunk(" 9", finish="stop"), usage(4), b"[DONE]")


def test_a_whole_count_is_exact() -> None:
    answer = answered(*WHOLE)
    assert is_exact(answer, COUNT)
    assert answer.said()["usage"] == {"completion_tokens": 4}
    assert answer.longest_pause == 1.0


@pytest.mark.parametrize(
    "events",
    [
        (chunk("7"), chunk(" 9", finish="stop"), usage(4), b"[DONE]"),
        (chunk("7"), chunk(" 8"), chunk(" 8"), chunk(" 9", finish="stop"), usage(4), b"[DONE]"),
        WHOLE[:-1],
        (*WHOLE[:2], b'{"error": {"message": "m", "type": "server_error", "param": null, "code": "engine_failed"}}'),
        (*WHOLE[:3], usage(5), b"[DONE]"),
        (chunk("7"), chunk(" 8"), chunk(" 9", finish="length"), usage(4), b"[DONE]"),
    ],
    ids=["lost token", "doubled token", "no end", "error event", "wrong usage", "wrong reason"],
)
def test_whatever_is_not_as_it_should_be_is_not_exact(events: tuple[bytes, ...]) -> None:
    assert not is_exact(answered(*events), COUNT)


def test_an_error_after_which_done_comes_is_no_success() -> None:
    assert not answered(b'{"error": {"message": "m"}}', b"[DONE]").is_success


def test_the_text_of_an_event_is_told() -> None:
    answer = Answer()
    assert [answer.add(event, 0.0) for event in WHOLE] == ["7", " 8", " 9", "", ""]


def test_choices_are_kept_apart() -> None:
    answer = answered(chunk("a"), chunk("x", index=1), chunk("b"), chunk("y", index=1, finish="length"))
    assert answer.said()["texts"] == {0: "ab", 1: "xy"}
    assert answer.finish_reasons == {1: "length"}


def test_events_are_whole_however_the_bytes_were_cut() -> None:
    stream = b"data: one\n\n: keep-alive\n\ndata: two\n\n"
    for size in range(1, len(stream)):
        reader = EventReader()
        events = [event for start in range(0, len(stream), size) for event in reader.feed(stream[start : start + size])]
        assert events == [b"one", b"two"]


def test_quantiles_are_values_that_were_seen() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [quantile(values, share) for share in (0.0, 0.5, 0.99, 0.991, 1.0)] == [1.0, 50.0, 99.0, 100.0, 100.0]
    assert Spread.of([0.25]) == Spread(1, 250.0, 250.0, 250.0, 250.0)
