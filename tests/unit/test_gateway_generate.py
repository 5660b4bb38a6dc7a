"""`/generate` and `/generate_batch` from request to answer."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from spillway.pool.contract import Refused
from spillway_wire.outcomes import Outcome
from spillway_wire.tally import OUTPUT_TOKENS, PROMPT_TOKENS


def test_generate_needs_no_model_and_uses_the_chat_template(house: Any, ask: Callable[..., Any]) -> None:
    answer = ask("/generate", {"prompt": "Hello", "max_tokens": 50, "temperature": 0.7, "top_p": 0.95}).json
    assert [set(output) for output in answer["outputs"]] == [{"index", "text", "token_ids", "finish_reason"}]
    assert answer["outputs"][0]["text"] == "2 3 4 5"
    assert answer["outputs"][0]["token_ids"] == [*house.model.text.encode("2 3 4 5"), 2]
    assert answer["usage"]["completion_tokens"] == 5
    work = house.pool.tickets[0].work
    assert work.prompt_token_ids == house.model.text.encode_chat([{"role": "user", "content": "Hello"}])
    ask("/generate", {"prompt": "Hello", "raw": True})
    raw = house.pool.tickets[1].work
    assert raw.prompt_token_ids == house.model.text.encode("Hello")
    assert raw.params.max_tokens == 100


def test_every_event_of_generate_holds_text(ask: Callable[..., Any]) -> None:
    *events, done = ask("/generate", {"prompt": "Hello", "stream": True, "max_tokens": 3}).events
    assert done == "[DONE]"
    assert "".join(event["text"] for event in events) == "2 3 4"
    assert [event["finish_reason"] for event in events if event.get("finish_reason")] == ["length"]
    assert events[-1]["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("stream", [False, True])
def test_a_batch_is_one_arrival_and_its_outputs_are_in_order(
    house: Any, gateway_house: ModuleType, ask: Callable[..., Any], *, stream: bool
) -> None:
    def answer(ticket: Any) -> None:  # each says its own prompt
        gateway_house.give(ticket, ticket.work.prompt_token_ids, eos=2)

    house.pool.answer = answer
    call = ask("/generate_batch", {"prompts": ["2", "3 4", "5"], "raw": True, "stream": stream})
    if stream:
        texts = ["", "", ""]
        for event in call.events[:-2]:
            texts[event["index"]] += event["text"]
        assert texts == ["2", "3 4", "5"]
    else:
        assert [output["text"] for output in call.json["outputs"]] == ["2", "3 4", "5"]
        assert [output["index"] for output in call.json["outputs"]] == [0, 1, 2]
    assert house.tally._counts[0] == 1
    assert house.tally._counts[PROMPT_TOKENS] == 4
    assert house.tally._counts[OUTPUT_TOKENS] == 4 + 3


def test_one_prompt_of_a_batch_that_fails_fails_the_batch_and_frees_the_others(
    house: Any, ask: Callable[..., Any]
) -> None:
    def answer(ticket: Any) -> None:
        if len(house.pool.tickets) == 2:
            ticket.fail(Refused(Outcome.ENGINE_FAILED, "poison", should_retry=False))

    house.pool.answer = answer
    call = ask("/generate_batch", {"prompts": ["2", "3", "4"]})
    assert (call.status, call.error["code"], call.headers["x-should-retry"]) == (500, "engine_failed", "false")
    assert house.pool.num_open == 0


def test_a_batch_whose_last_prompt_is_refused_leaves_none_behind(house: Any, ask: Callable[..., Any]) -> None:
    def answer(_: Any) -> None:
        if len(house.pool.tickets) == 2:
            house.pool.refuse = Refused(Outcome.OVERLOADED, "full", limit="max_queued_requests=2", measured="2")

    house.pool.answer = answer
    call = ask("/generate_batch", {"prompts": ["2", "3", "4"]})
    assert (call.status, call.headers["x-spillway-limit"]) == (429, "max_queued_requests=2")
    assert house.pool.num_open == 0
    assert house.tally._counts[PROMPT_TOKENS] == 0, "nobody computed anything for it"
