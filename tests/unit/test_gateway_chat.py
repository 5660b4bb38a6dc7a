"""`/v1/chat/completions` from request to answer, with a pool that says what the test wants."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from spillway.pool.contract import Piece
from spillway_wire.outcomes import FinishReason, Outcome
from spillway_wire.tally import PROMPT_TOKENS

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Count from 2 to 5"}]


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": MESSAGES} | fields


def test_a_chat_is_answered_in_openais_form(house: Any, ask: Callable[..., Any]) -> None:
    call = ask(CHAT, chat())
    assert call.status == 200
    answer = call.json
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["model"] == "demo"
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "2 3 4 5", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    prompt = len(house.pool.tickets[0].work.prompt_token_ids)
    assert answer["usage"] == {
        "prompt_tokens": prompt,
        "completion_tokens": 5,
        "total_tokens": prompt + 5,
        "prompt_tokens_details": {"cached_tokens": 1},
    }
    assert answer["service_tier"] == "default"
    assert answer["system_fingerprint"].startswith("fp_")


def test_every_answer_bears_its_id_its_time_and_how_exact_it_is(ask: Callable[..., Any]) -> None:
    headers = ask(CHAT, chat()).headers
    assert headers["x-request-id"].startswith("req_")
    assert headers["openai-processing-ms"].isdigit()
    assert headers["openai-version"] == "2020-10-01"
    assert headers["x-spillway-exactness"] == "exact"


def test_the_template_is_what_the_engine_gets(house: Any, ask: Callable[..., Any]) -> None:
    parts = [{"type": "text", "text": "Count from 2"}, {"type": "text", "text": " to 5"}]
    ask(CHAT, chat())
    ask(CHAT, chat(messages=[{"role": "user", "content": parts}]))
    first, second = (ticket.work.prompt_token_ids for ticket in house.pool.tickets)
    assert first == second == house.model.text.encode_chat(MESSAGES)


def test_a_streamed_chat_is_chunks_that_make_up_the_same_answer(ask: Callable[..., Any]) -> None:
    call = ask(CHAT, chat(stream=True))
    assert call.headers["content-type"].startswith("text/event-stream")
    *chunks, done = call.events
    assert done == "[DONE]"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["system_fingerprint"]) for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(delta.get("content", "") for delta in deltas) == "2 3 4 5"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert all("usage" not in chunk for chunk in chunks)


def test_usage_comes_last_and_is_null_before_if_it_was_asked_for(ask: Callable[..., Any]) -> None:
    *chunks, last, done = ask(CHAT, chat(stream=True, stream_options={"include_usage": True})).events
    assert done == "[DONE]"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 5


def test_n_choices_are_told_apart_by_index_and_the_prompt_counts_once(house: Any, ask: Callable[..., Any]) -> None:
    answer = ask(CHAT, chat(n=3)).json
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert house.pool.tickets[0].work.num_choices == 3
    assert answer["usage"]["completion_tokens"] == 15
    assert answer["usage"]["prompt_tokens"] == len(house.pool.tickets[0].work.prompt_token_ids)
    *chunks, _ = ask(CHAT, chat(n=3, stream=True)).events
    texts = ["", "", ""]
    for chunk in chunks:
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["delta"].get("content", "")
    assert texts == ["2 3 4 5"] * 3


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_ends_the_answer_before_it_and_the_engine_hears_of_it(
    house: Any, ask: Callable[..., Any], *, stream: bool
) -> None:
    house.pool.answer = lambda ticket: [  # no end of its own
        ticket.push(Piece(0, (token,))) for token in house.model.text.encode("2 3 4 5 6")
    ]
    call = ask(CHAT, chat(stop=["3 4", "never"], stream=stream))
    if stream:
        *chunks, done = call.events
        assert done == "[DONE]"
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        reason = chunks[-1]["choices"][0]["finish_reason"]
    else:
        text = call.json["choices"][0]["message"]["content"]
        reason = call.json["choices"][0]["finish_reason"]
        assert call.json["usage"]["completion_tokens"] == 3
        assert call.json["usage"]["prompt_tokens_details"] is None
    assert (text, reason) == ("2 ", "stop")
    assert house.pool.tickets[0].aborted is Outcome.COMPLETED


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_ends_its_choice_in_the_engine_while_the_others_go_on(
    house: Any, gateway_house: ModuleType, ask: Callable[..., Any], *, stream: bool
) -> None:
    def answer(ticket: Any) -> None:
        for token in house.model.text.encode("2 3 4"):
            ticket.push(Piece(0, (token,)))
        gateway_house.give(ticket, house.model.text.encode("7 8"), eos=2, choice=1)

    house.pool.answer = answer
    call = ask(CHAT, chat(stop=" 3", n=2, stream=stream))
    choices = [choice for each in (call.events[:-1] if stream else [call.json]) for choice in each["choices"]]
    texts = ["", ""]
    for choice in choices:
        texts[choice["index"]] += (choice["delta"] if stream else choice["message"]).get("content", "")
    assert texts == ["2", "7 8"]
    assert house.pool.tickets[0].ended_here == [0]
    if not stream:  # the first, which computed the prompt, has not told what it found in the cache
        assert call.json["usage"]["prompt_tokens_details"] is None


def test_logprobs_are_those_of_the_tokens_that_are_shown(ask: Callable[..., Any]) -> None:
    choice = ask(CHAT, chat(logprobs=True, top_logprobs=2)).json["choices"][0]
    content = choice["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content) == "2 3 4 5"
    assert bytes(byte for entry in content for byte in entry["bytes"]).decode() == "2 3 4 5"
    assert all(len(entry["top_logprobs"]) == 2 for entry in content)
    cut = ask(CHAT, chat(logprobs=True, stop=" 4")).json["choices"][0]
    assert "".join(entry["token"] for entry in cut["logprobs"]["content"]) == cut["message"]["content"] == "2 3"
    assert cut["logprobs"]["content"][0]["top_logprobs"] == []


def test_streamed_logprobs_are_the_same_as_whole_ones(ask: Callable[..., Any]) -> None:
    whole = ask(CHAT, chat(logprobs=True, top_logprobs=1)).json["choices"][0]["logprobs"]["content"]
    *chunks, _ = ask(CHAT, chat(logprobs=True, top_logprobs=1, stream=True)).events
    logprobs = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [entry for each in logprobs if each for entry in each["content"]] == whole


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"store": True}, "store"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"max_tokens": 2048}, "messages"),
        ({"max_completion_tokens": 5000}, "max_completion_tokens"),
        ({"messages": [{"role": "user", "content": "2 " * 3000}]}, "messages"),
        ({"logit_bias": {"99999": 1}}, "logit_bias"),
    ],
)
def test_what_cannot_be_is_refused_by_name(ask: Callable[..., Any], fields: dict[str, Any], param: str) -> None:
    call = ask(CHAT, chat(**fields))
    assert call.status == 400
    assert call.error["param"] == param


def test_a_prompt_that_is_too_long_has_openais_code_and_says_what_was_measured(ask: Callable[..., Any]) -> None:
    call = ask(CHAT, chat(max_tokens=2048))
    assert call.error["code"] == "context_length_exceeded"
    assert call.headers["x-spillway-limit"] == "max_model_len=2048"
    assert int(call.headers["x-spillway-measured"]) > 2048


@pytest.mark.parametrize(("path", "field"), [("/generate", "prompt"), (CHAT, "messages")])
def test_a_text_that_cannot_fit_is_refused_before_it_is_tokenized(
    house: Any, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, path: str, field: str
) -> None:
    def encode(text: str, **_: Any) -> list[int]:
        raise AssertionError(f"{len(text)} characters were tokenized")

    monkeypatch.setattr(house.model.text, "encode", encode)
    text = "2" * (2048 * house.model.longest_token + 1)
    call = ask(path, {"prompt": text} if path == "/generate" else chat(messages=[{"role": "user", "content": text}]))
    assert (call.status, call.error["code"], call.error["param"]) == (400, "context_length_exceeded", field)
    assert call.headers["x-spillway-limit"] == "max_model_len=2048"
    assert int(call.headers["x-spillway-measured"].removesuffix(" characters")) >= len(text)
    assert house.tally._counts[PROMPT_TOKENS] == 0


def test_answers_are_bounded_by_what_is_left_of_the_context_where_nothing_else_is_said(
    house: Any, ask: Callable[..., Any]
) -> None:
    ask(CHAT, chat())
    ask(CHAT, chat(messages=[{"role": "user", "content": "2 " * 1500}]))
    short, long = (ticket.work for ticket in house.pool.tickets)
    assert short.params.max_tokens == 1024
    assert len(long.prompt_token_ids) + long.params.max_tokens == 2048


def test_a_model_is_known_by_its_alias_and_answers_under_its_name(house: Any, ask: Callable[..., Any]) -> None:
    assert ask(CHAT, chat(model="default")).json["model"] == "demo"
    assert house.pool.tickets[0].work.model == "demo"
    call = ask(CHAT, chat(model="gpt-9"))
    assert (call.status, call.error["code"], call.error["param"]) == (404, "model_not_found", "model")


def test_a_request_without_a_seed_gets_one_of_its_own(house: Any, ask: Callable[..., Any]) -> None:
    ask(CHAT, chat())
    ask(CHAT, chat())
    ask(CHAT, chat(seed=5))
    seeds = [ticket.work.params.seed for ticket in house.pool.tickets]
    assert seeds[0] != seeds[1]
    assert seeds[2] == 5


def test_a_choice_that_ends_at_its_first_token_is_empty_and_not_missing(
    house: Any, gateway_house: ModuleType, ask: Callable[..., Any]
) -> None:
    house.pool.answer = lambda ticket: ticket.push(
        Piece(0, (2,), finish=gateway_house.finish(FinishReason.STOP, ticket, 1))
    )
    assert ask(CHAT, chat()).json["choices"][0]["message"]["content"] == ""
    *chunks, done = ask(CHAT, chat(stream=True)).events
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, "stop"]
    assert done == "[DONE]"
