"""Prompts and answers in traces and logs: of those tenants alone whom the settings name, and never without end."""

import json
import sqlite3
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.gateway.asked import messages_of
from spillway.gateway.schema import ChatRequest, CompletionRequest, GenerateBatchRequest, GenerateRequest
from spillway.telemetry.trace_store.schema import FILE_NAME
from spillway.telemetry.trace_store.writer import StoreWriter
from spillway.telemetry.tracing.contents import CUT, Contents
from spillway_wire import trace_names as names

MARKER = "xyzzy-4711"


@pytest.mark.parametrize(
    ("content", "is_wanted"),
    [((), False), (("acme",), True), (("other", "acme"), True), (("acm", "acmes"), False), (("*",), True)],
    ids=["nobody", "it alone", "among others", "names like it", "everybody"],
)
def test_contents_are_wanted_of_those_whom_the_settings_name(
    traced: ModuleType, content: tuple[str, ...], is_wanted: bool
) -> None:
    world = traced.World(content=content)
    trace = world.begin("r1")
    assert not trace.wants_contents()  # while nobody knows whose request it is
    entry = world.submit(trace)  # the tenant is acme
    assert trace.wants_contents() is is_wanted
    world.end(trace, entry)


def test_a_trace_holds_what_was_asked_and_answered(traced: ModuleType) -> None:
    world = traced.World(content=("acme",))
    trace = world.begin("r1")
    entry = world.submit(trace)
    trace.contents = Contents([("system", "Be brief."), ("user", "Hello")])
    for text in ("Good", " day"):
        trace.contents.say(0, text)
    trace.contents.reasons = ("stop",)
    world.end(trace, entry)
    found = trace.build().spans[0].attributes
    assert json.loads(found[names.GEN_AI_INPUT_MESSAGES]) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Hello"}]},
    ]
    assert json.loads(found[names.GEN_AI_OUTPUT_MESSAGES]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Good day"}], "finish_reason": "stop"}
    ]


def test_a_refused_request_has_a_prompt_and_no_answer() -> None:
    contents = Contents([("user", "Hello")])
    assert "Hello" in contents.prompt()
    assert contents.answer() is None


texts = st.text(max_size=40)


@given(st.lists(texts, max_size=8), st.lists(st.tuples(st.integers(0, 3), texts), max_size=20), st.integers(0, 50))
def test_nothing_grows_without_end_and_what_fits_is_whole(
    asked: list[str], said: list[tuple[int, str]], most: int
) -> None:
    contents = Contents([("user", text) for text in asked], max_chars=most)
    for choice, text in said:
        contents.say(choice, text)
    prompts = [message["parts"][0]["content"] for message in json.loads(contents.prompt())]
    answers = [message["parts"][0]["content"] for message in json.loads(contents.answer() or "[]")]
    for kept, given_ in ((prompts, asked), (answers, [text for _, text in said])):
        total = sum(map(len, given_))
        assert sum(map(len, kept)) <= most + len(CUT)
        if total <= most:
            assert "".join(sorted("".join(kept))) == "".join(sorted("".join(given_)))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (
            {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
            [("user", "a")],
        ),
        ({"model": "m", "messages": [{"role": "assistant"}]}, [("assistant", "")]),
        ({"model": "m", "prompt": "a"}, [("user", "a")]),
        ({"model": "m", "prompt": ["a", "b"]}, [("user", "a"), ("user", "b")]),
        ({"model": "m", "prompt": [1, 2]}, [("user", "[1, 2]")]),
        ({"model": "m", "prompt": [[1, 2], [3]]}, [("user", "[1, 2]"), ("user", "[3]")]),
        ({"prompts": ["a", "b"]}, [("user", "a"), ("user", "b")]),
        ({"prompt": "a"}, [("user", "a")]),
    ],
    ids=["parts", "no content", "text", "texts", "tokens", "lists of tokens", "batch", "generate"],
)
def test_every_kind_of_request_says_what_it_asks(request_: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    kind: Any = ChatRequest if "messages" in request_ else CompletionRequest if "model" in request_ else None
    kind = kind or (GenerateBatchRequest if "prompts" in request_ else GenerateRequest)
    assert list(messages_of(msgspec.convert(request_, kind))) == expected


def test_the_store_has_contents_only_where_they_were_wanted(traced: ModuleType, tmp_path: Path) -> None:
    """The file is searched as a thief would."""
    for content, is_there in (((), False), (("acme",), True)):
        folder = tmp_path / str(is_there)
        folder.mkdir()
        world = traced.World(content=content)
        trace = world.begin("r1")
        entry = world.submit(trace)
        if trace.wants_contents():
            trace.contents = Contents([("user", MARKER)])
        world.end(trace, entry)
        store = StoreWriter(folder / FILE_NAME, log=lambda *_, **__: None, max_age_s=1e10)  # they are of 2023
        store.write([trace.build()])
        store.close(0.0)
        sqlite3.connect(folder / FILE_NAME).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
        assert (MARKER.encode() in (folder / FILE_NAME).read_bytes()) is is_there
