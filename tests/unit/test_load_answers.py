"""Answers: taken in however they are cut, and held against what they should say. A check that cannot fail is none."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway_load.answer import Answer
from spillway_load.asking import is_right
from spillway_load.plan import Shot
from spillway_load.prompts import Expected

RIGHT = ["3", " 4", " 5"]
SHOT = Shot(
    number=0,
    due_s=0.0,
    body=b"",
    expected=Expected(4, "stop", "3 4 5"),
    label="Count from 3 to 5",
    work="count",
    tier="all",
    tenant="",
)


def stream(pieces: list[str], *, tokens: int = 4, finish: str = "stop", end: bytes = b"data: [DONE]\n\n") -> bytes:
    chunks: list[dict[str, Any]] = [{"choices": [{"delta": {"role": "assistant", "content": ""}}], "usage": None}]
    chunks += [{"choices": [{"delta": {"content": piece}}], "usage": None} for piece in pieces]
    chunks += [
        {"choices": [{"delta": {}, "finish_reason": finish}]},
        {"choices": [], "usage": {"completion_tokens": tokens}},
    ]
    return b": alive\n\n" + b"".join(b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks) + end


def taken(body: bytes) -> Answer:
    answer = Answer()
    answer.feed(body, 1.0)
    return answer


@given(st.lists(st.integers(0, 600), max_size=6).map(sorted))
def test_an_answer_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    body, answer = stream(RIGHT), Answer()
    for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        answer.feed(body[begin:end], 1.0)
    assert (answer.text, answer.finish_reason, answer.num_tokens, answer.is_done) == ("3 4 5", "stop", 4, True)
    assert len(answer.times) == 3
    assert answer.outcome(200) == "completed"
    assert is_right(answer, SHOT)


@pytest.mark.parametrize(
    "body",
    [
        stream(["3", " 5"], tokens=3),
        stream(["3", " 4", " 4", " 5"], tokens=5),
        stream(["3", " 4", " 6"]),
        stream(RIGHT, tokens=5),
        stream(RIGHT, finish="length"),
    ],
    ids=["lost", "doubled", "changed", "usage", "reason"],
)
def test_a_wrong_answer_is_not_right(body: bytes) -> None:
    assert not is_right(taken(body), SHOT)


def test_a_stream_without_its_end_is_truncated() -> None:
    assert taken(stream(RIGHT, end=b"")).outcome(200) == "truncated"


def test_an_error_in_a_stream_is_its_outcome() -> None:
    error = b'data: {"error": {"message": "m", "type": "t", "spillway": {"outcome": "engine_failed"}}}\n\n'
    assert taken(stream(RIGHT, end=error)).outcome(200) == "engine_failed"


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b'{"error": {"message": "m", "spillway": {"outcome": "overloaded"}}}', "overloaded"),
        (b'{"error": {"message": "m"}}', "http_429"),
        (b"<html>", "http_429"),
    ],
    ids=["ours", "another's", "none"],
)
def test_a_refusal_is_called_as_the_server_calls_it(body: bytes, outcome: str) -> None:
    answer = Answer()
    answer.refuse(body)
    assert answer.outcome(429) == outcome
