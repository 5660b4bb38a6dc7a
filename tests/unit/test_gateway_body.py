"""From bytes to a request: what is refused, how it is named, and that it is quick."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from spillway.gateway.body import Reader, read_body
from spillway.gateway.problems import Problem
from spillway.gateway.schema import ChatRequest, CompletionRequest, GenerateRequest
from spillway_wire.outcomes import Outcome

CHAT = '{"model": "demo", "messages": [{"role": "user", "content": "hi"}]'


def refused(text: str | bytes, kind: type[Any] = ChatRequest) -> Problem:
    raw = text.encode() if isinstance(text, str) else text
    with pytest.raises(Problem) as caught:
        Reader(kind, max_depth=64)(raw)
    assert caught.value.outcome is Outcome.INVALID
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    ("field", "param"),
    [
        ('"temperature": 2.1', "temperature"),
        ('"temperature": -0.1', "temperature"),
        ('"temperature": "warm"', "temperature"),
        ('"temperature": 1e999', "temperature"),
        ('"top_p": 1.01', "top_p"),
        ('"n": 0', "n"),
        ('"n": 11', "n"),
        ('"n": 1.5', "n"),
        ('"n": ' + "9" * 400, "n"),
        ('"presence_penalty": 2.5', "presence_penalty"),
        ('"frequency_penalty": -2.5', "frequency_penalty"),
        ('"max_tokens": 0', "max_tokens"),
        ('"max_completion_tokens": -1', "max_completion_tokens"),
        ('"top_logprobs": 21', "top_logprobs"),
        ('"seed": ' + "9" * 400, "seed"),
        ('"seed": "1"', "seed"),
        ('"stop": ["a", "b", "c", "d", "e"]', "stop"),
        ('"stop": ""', "stop"),
        ('"stop": [""]', "stop[0]"),
        ('"stop": 3', "stop"),
        ('"logit_bias": {"5": 101}', "logit_bias[...]"),
        ('"logit_bias": {"five": 1}', "logit_bias"),
        ('"response_format": {"type": "json_object"}', "response_format.type"),
        ('"stream_options": {"what": 1}', "stream_options.what"),
        ('"metadata": {"k": 1}', "metadata[...]"),
        ('"messages": []', "messages"),
        ('"messages": [{"role": "wizard", "content": "x"}]', "messages[0].role"),
        ('"messages": [{"role": "user", "content": "x", "mood": 1}]', "messages[0].mood"),
        (
            '"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]',
            "messages[0].content[0].type",
        ),
        ('"messages": [{"role": "assistant", "content": "x", "tool_calls": [{}]}]', "messages[0].tool_calls"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(field: str, param: str) -> None:
    problem = refused(f"{CHAT}, {field}}}")
    assert problem.param == param
    assert param in problem.message


@pytest.mark.parametrize(
    "name", ["tools", "tool_choice", "functions", "parallel_tool_calls", "audio", "prediction", "reasoning_effort"]
)
def test_what_openai_has_and_spillway_has_not_is_refused_by_name_unless_it_is_null(name: str) -> None:
    problem = refused(f'{CHAT}, "{name}": []}}')
    assert (problem.param, problem.code) == (name, "unsupported_parameter")
    Reader(ChatRequest, max_depth=64)(f'{CHAT}, "{name}": null}}'.encode())


def test_a_field_that_nobody_knows_is_refused_by_name() -> None:
    problem = refused(f'{CHAT}, "temprature": 1}}')
    assert (problem.param, problem.code) == ("temprature", "unknown_parameter")


def test_a_field_that_is_missing_is_named() -> None:
    assert refused('{"model": "demo"}').param == "messages"
    assert refused('{"messages": [{"role": "user", "content": "hi"}]}').param == "model"
    assert refused('{"prompt": "x"}', CompletionRequest).param == "model"
    Reader(GenerateRequest, max_depth=64)(b'{"prompt": "x"}')


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"\xff",
        b'{"prompt": "\xff"}',
        b'{"prompt": "\xed\xa0\x80"}',
        rb'{"prompt": "\ud800"}',
        rb'{"prompt": "\udc00 and more"}',
        rb'{"prompt": "\ud800\ud800"}',
        b'{"prompt": NaN}',
        b'{"prompt": "x"} x',
        b'\xef\xbb\xbf{"prompt": "x"}',
    ],
)
def test_what_is_not_json_in_utf8_with_whole_characters_is_refused(raw: bytes) -> None:
    assert refused(raw, GenerateRequest).message


def test_a_character_beyond_the_basic_plane_may_be_written_as_a_pair() -> None:
    assert Reader(GenerateRequest, max_depth=64)(rb'{"prompt": "\ud83d\ude00"}').prompt == "😀"


def test_ten_thousand_stop_strings_are_refused_by_their_number() -> None:
    stops = ",".join(f'"{number}"' for number in range(10_000))
    assert refused(f'{{"prompt": "x", "stop": [{stops}]}}', GenerateRequest).param == "stop"


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100_000,
        b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b'{"prompt": "x", "deep": ' + b'[{"a": 1}, ' * 65,
    ],
)
def test_brackets_that_nest_too_deep_are_refused_before_anything_is_decoded(raw: bytes) -> None:
    problem = refused(raw, GenerateRequest)
    assert problem.limit == "max_json_depth=64"


@pytest.mark.parametrize("prompt", ["[" * 1000, '\\"' + "{" * 1000, "\\\\", "[]" * 1000])
def test_brackets_in_a_text_are_no_nesting(prompt: str) -> None:
    Reader(GenerateRequest, max_depth=64)(f'{{"prompt": "{prompt}"}}'.encode())


def test_many_brackets_side_by_side_are_no_nesting() -> None:
    raw = b'{"model": "demo", "prompt": [' + b",".join([b"[1]"] * 200) + b"]}"
    assert len(Reader(CompletionRequest, max_depth=3)(raw).prompt) == 200


def read(chunks: Sequence[bytes | None], headers: Sequence[tuple[bytes, bytes]] = (), max_bytes: int = 10) -> Any:
    """Read a body that comes in chunks; None is the client's leaving."""
    coming = list(chunks)

    async def receive() -> dict[str, Any]:
        assert coming, "asked for more than there is"
        chunk = coming.pop(0)
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": bool(coming)}

    return asyncio.run(read_body(receive, headers, max_bytes=max_bytes, patience_s=60.0))


def test_a_body_may_come_in_pieces() -> None:
    assert read([b"abc", b"", b"def"]) == b"abcdef"
    assert read([b""]) == b""


def test_a_client_that_leaves_in_the_midst_of_its_body_is_gone() -> None:
    assert read([b"abc", None]) is None


def test_a_body_that_is_announced_too_large_is_refused_unread() -> None:
    with pytest.raises(Problem) as caught:
        read([], [(b"content-length", b"11")])
    assert (caught.value.status, caught.value.outcome) == (413, Outcome.TOO_LARGE)
    assert (caught.value.limit, caught.value.measured) == ("max_body_bytes=10", "11")


def test_a_body_that_is_too_large_without_saying_so_is_refused_when_it_is() -> None:
    with pytest.raises(Problem) as caught:
        read([b"12345678", b"9012", b"never asked for"])
    assert (caught.value.status, caught.value.measured) == (413, "12")


def test_a_body_that_never_comes_ends_as_a_slow_reader() -> None:
    async def main() -> None:
        with pytest.raises(Problem) as caught:
            await read_body(asyncio.Event().wait, [], max_bytes=10, patience_s=0.0)
        assert (caught.value.outcome, caught.value.status) == (Outcome.SLOW_READER, 408)

    asyncio.run(main())
