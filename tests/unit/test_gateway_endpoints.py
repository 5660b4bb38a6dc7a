"""Every endpoint from request to answer, with a pool that says what the test wants."""

import asyncio
import shutil
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from spillway.gateway.information import INLINE_TOKENS
from spillway.gateway.models import Model
from spillway.gateway.schema import MAX_DETOKENIZED
from spillway.pool.contract import ModelState, Piece, Refused
from spillway.settings import LimitSettings, Settings
from spillway_wire.outcomes import FinishReason, Outcome
from spillway_wire.plane import PhaseKind
from spillway_wire.tally import COUNTERS, OUTPUT_TOKENS, PROMPT_TOKENS

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Count from 2 to 5"}]


@pytest.fixture
def house(gateway_house: ModuleType) -> Any:
    return gateway_house.House()


@pytest.fixture
def ask(house: Any, asgi: ModuleType) -> Callable[..., Any]:
    """Serve one request and return the call."""

    def serve(path: str, body: object = None, **options: Any) -> Any:
        call: Coroutine[Any, Any, Any] = asgi.Call(house.app, path, body, **options).run()
        return asyncio.run(call)

    return serve


@pytest.fixture
def ask_of_words(house: Any, gateway_house: ModuleType, ask: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """As `ask`, of a model whose decoder strips the first space of a text, as those of Llama 2 and Mistral do.

    It answers "sat down".
    """
    words = ["<s>", "</s>", "▁the", "▁cat", "▁sat", "▁down"]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, words[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    folder = shutil.copytree(gateway_house.DEMO, tmp_path / "words")
    tokenizer.save(str(folder / "tokenizer.json"))
    house.gateway.models.install((Model.load("words", folder),))
    house.pool.answer = lambda ticket: gateway_house.give(ticket, [4, 5], eos=1)
    return ask


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": MESSAGES} | fields


# ---- chat ----


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


# ---- completions ----


def complete(**fields: Any) -> dict[str, Any]:
    return {"model": "demo", "prompt": "2 3"} | fields


def test_a_completion_takes_the_prompt_as_it_is(house: Any, ask: Callable[..., Any]) -> None:
    answer = ask("/v1/completions", complete()).json
    assert answer["object"] == "text_completion"
    assert answer["choices"] == [{"text": "2 3 4 5", "index": 0, "logprobs": None, "finish_reason": "stop"}]
    assert house.pool.tickets[0].work.prompt_token_ids == house.model.text.encode("2 3")


@pytest.mark.parametrize(
    ("prompt", "num_prompts"), [("2", 1), (["2", "3"], 2), ([23, 24, 25], 1), ([[23], [24, 25]], 2)]
)
def test_prompts_come_in_four_forms(house: Any, ask: Callable[..., Any], prompt: Any, num_prompts: int) -> None:
    answer = ask("/v1/completions", complete(prompt=prompt, n=2)).json
    assert [choice["index"] for choice in answer["choices"]] == list(range(2 * num_prompts))
    assert len(house.pool.tickets) == num_prompts


@pytest.mark.parametrize("prompt", [[], ["a", 1], [[1], "a"], [1, [1]], "", [""], [99999], [[]]])
def test_a_prompt_that_is_nothing_or_a_mixture_is_refused(ask: Callable[..., Any], prompt: Any) -> None:
    call = ask("/v1/completions", complete(prompt=prompt))
    assert (call.status, call.error["param"]) == (400, "prompt")


def test_an_echo_puts_the_prompt_before_its_completion(ask: Callable[..., Any]) -> None:
    assert ask("/v1/completions", complete(echo=True)).json["choices"][0]["text"] == "2 32 3 4 5"
    *chunks, _ = ask("/v1/completions", complete(echo=True, stream=True)).events
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "2 32 3 4 5"


def test_text_logprobs_run_in_parallel_and_begin_with_an_echoed_prompts(
    house: Any, gateway_house: ModuleType, ask: Callable[..., Any]
) -> None:
    def answer(ticket: Any) -> None:
        prompt = tuple(gateway_house.logprobs_of(token, 1) for token in ticket.work.prompt_token_ids[1:])
        ticket.push(Piece(0, prompt_logprobs=prompt))
        gateway_house.give(ticket, house.model.text.encode("4 5"), eos=2)

    house.pool.answer = answer
    choice = ask("/v1/completions", complete(echo=True, logprobs=1)).json["choices"][0]
    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == choice["text"] == "2 34 5"
    assert logprobs["token_logprobs"] == [None, -0.5, -0.5, -0.5]
    assert logprobs["top_logprobs"][0] is None
    assert [choice["text"][place] for place in logprobs["text_offset"]] == [token[0] for token in logprobs["tokens"]]
    *chunks, _ = ask("/v1/completions", complete(echo=True, logprobs=1, stream=True)).events
    parts = [chunk["choices"][0]["logprobs"] for chunk in chunks if chunk["choices"][0]["logprobs"]]
    assert {key: [each for part in parts for each in part[key]] for key in logprobs} == logprobs


@pytest.mark.parametrize(
    ("fields", "param"), [({"best_of": 2}, "best_of"), ({"suffix": "x"}, "suffix"), ({"logprobs": 6}, "logprobs")]
)
def test_what_completions_cannot_do_is_refused_by_name(
    ask: Callable[..., Any], fields: dict[str, Any], param: str
) -> None:
    assert ask("/v1/completions", complete(**fields)).error["param"] == param


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (("/v1/completions", {"model": "words", "prompt": "the cat"}), " sat down"),
        (("/v1/completions", {"model": "words", "prompt": "the cat", "echo": True}), "the cat sat down"),
        (("/v1/completions", {"model": "words", "prompt": "the cat", "stop": [" down"]}), " sat"),
        (("/generate", {"prompt": "the cat", "raw": True}), " sat down"),
        (("/generate", {"prompt": "the cat"}), "sat down"),
    ],
    ids=["completion", "echo", "stop", "raw", "chat"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_text_that_goes_on_keeps_the_space_before_its_first_word(
    house: Any, ask_of_words: Callable[..., Any], asked: tuple[str, dict[str, Any]], text: str, *, stream: bool
) -> None:
    path, body = asked
    call = ask_of_words(path, body | {"stream": stream})
    answers = call.events[:-1] if stream else [call.json]
    parts = [part for each in answers for part in each.get("choices") or each.get("outputs") or [each]]
    assert "".join(part["text"] for part in parts) == text


# ---- generate ----


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


# ---- what goes wrong ----


@pytest.mark.parametrize("stream", [False, True])
def test_before_the_first_token_any_status_is_possible(house: Any, ask: Callable[..., Any], *, stream: bool) -> None:
    house.pool.answer = lambda ticket: ticket.fail(Refused(Outcome.EXPIRED, "too late", retry_after_s=3.0))
    call = ask(CHAT, chat(stream=stream))
    assert (call.status, call.headers["retry-after"], call.headers["content-type"]) == (503, "3", "application/json")


@pytest.mark.parametrize("stream", [False, True])
def test_whoever_notices_that_time_is_up_it_is_said_in_one_way(
    house: Any, ask: Callable[..., Any], *, stream: bool
) -> None:
    impatient = [(b"x-request-timeout", b"0.02")]
    house.pool.answer = lambda _: None
    ours = ask(CHAT, chat(stream=stream), headers=impatient)
    house.pool.answer = lambda ticket: ticket.fail(Refused(Outcome.EXPIRED, "too late", retry_after_s=7.0))
    pools = ask(CHAT, chat(stream=stream), headers=impatient)
    house.pool.answer = lambda ticket: ticket.fail(Refused(Outcome.EXPIRED, "the engine's"))
    engines = ask(CHAT, chat(stream=stream), headers=impatient)
    for call in (ours, pools, engines):
        assert call.error["message"] == "the request was not answered within 0.02 s"
        assert (call.headers["x-spillway-limit"], call.headers["retry-after"]) == ("deadline=0.02s", "7")
        assert float(call.headers["x-spillway-measured"].removesuffix(" s")) < 10


def test_after_the_first_token_an_error_is_an_event_and_the_end_without_done(
    house: Any, ask: Callable[..., Any]
) -> None:
    def answer(ticket: Any) -> None:
        ticket.push(Piece(0, (23,)))
        ticket.fail(Refused(Outcome.ENGINE_FAILED, "the engine died for good"))

    house.pool.answer = answer
    call = ask(CHAT, chat(stream=True))
    assert call.status == 200
    assert call.is_complete
    *chunks, last = call.events
    assert last["error"]["code"] == "engine_failed"
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)
    assert house.tally._counts[COUNTERS.index("outcome_engine_failed")] == 1


def test_a_fault_of_ours_is_an_answer_a_line_in_the_log_and_tells_no_prompt(
    house: Any, ask: Callable[..., Any]
) -> None:
    def answer(ticket: Any) -> None:
        raise RuntimeError(house.model.text.decode(ticket.work.prompt_token_ids))

    house.pool.answer = answer
    call = ask(CHAT, chat(messages=[{"role": "user", "content": "secret"}]))
    assert (call.status, call.error["type"]) == (500, "server_error")
    logged = [fields for event, fields in house.events if event == "request_failed"]
    assert "RuntimeError" in logged[0]["traceback"]
    assert "secret" not in str(house.events)
    assert "secret" not in call.text


@pytest.mark.parametrize("phase", [PhaseKind.REFUSING, PhaseKind.ENDING])
def test_a_draining_server_refuses_new_work(house: Any, ask: Callable[..., Any], phase: PhaseKind) -> None:
    house.gateway.enter_phase(phase)
    call = ask(CHAT, chat())
    assert (call.status, call.error["code"]) == (503, "server_is_overloaded")
    assert call.headers["x-spillway-outcome"] == "draining"
    assert (call.headers["x-spillway-limit"], call.headers["x-spillway-measured"]) == (
        "phase=serving",
        f"phase={phase}",
    )
    assert call.headers["retry-after"] == "1"
    assert ask("/ready", method="GET").status == 503
    assert ask("/health", method="GET").json == {"status": "healthy"}


def test_an_unready_server_still_serves(house: Any, ask: Callable[..., Any]) -> None:
    house.gateway.enter_phase(PhaseKind.UNREADY)
    assert ask("/ready", method="GET").status == 503
    assert ask(CHAT, chat()).status == 200


def test_one_line_is_logged_for_each_request_and_no_prompt(house: Any, ask: Callable[..., Any]) -> None:
    ask(CHAT, chat())
    ask(CHAT, b"{")
    lines = [fields for event, fields in house.events if event == "request"]
    assert [(line["endpoint"], line["outcome"], line["status"]) for line in lines] == [
        ("chat", "completed", 200),
        ("chat", "invalid", 400),
    ]
    assert [line["client"] for line in lines] == ["client"] * 2
    assert "Count" not in str(house.events)


def test_a_body_over_the_limit_is_too_large(gateway_house: ModuleType, asgi: ModuleType) -> None:
    house = gateway_house.House(settings=Settings(limits=LimitSettings(max_body_bytes=100)))
    call = asyncio.run(asgi.Call(house.app, CHAT, chat(user="x" * 100)).run())
    assert (call.status, call.error["code"]) == (413, "request_too_large")
    assert house.tally._counts[COUNTERS.index("outcome_too_large")] == 1


# ---- information ----


def test_models_are_listed_and_found_by_name(ask: Callable[..., Any]) -> None:
    listed = ask("/v1/models", method="GET").json
    assert [model["id"] for model in listed["data"]] == ["demo", "default"], "aliases too"
    assert listed["object"] == "list"
    one = ask("/v1/models/demo", method="GET").json
    assert one == listed["data"][0]
    missing = ask("/v1/models/owner/other", method="GET")
    assert (missing.status, missing.error["code"]) == (404, "model_not_found")


def test_tokens_go_there_and_back(house: Any, ask: Callable[..., Any]) -> None:
    found = ask("/tokenize", {"prompt": "2 3 4"}).json
    assert found == {"tokens": house.model.text.encode("2 3 4"), "count": 3, "max_model_len": 2048}
    assert ask("/detokenize", {"tokens": found["tokens"]}).json == {"prompt": "2 3 4"}
    assert ask("/tokenize", {"messages": MESSAGES}).json["tokens"] == house.model.text.encode_chat(MESSAGES)
    assert ask("/tokenize", {}).error["param"] == "prompt"
    assert ask("/detokenize", {"tokens": [99999]}).error["param"] == "tokens"
    assert ask("/tokenize", {"prompt": "x", "model": "other"}).status == 404


def test_many_tokens_are_detokenized_beside_the_loop_and_too_many_refused(
    house: Any, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    decode = house.model.text.decode

    def watched(*given: Any, **options: Any) -> Any:
        threads.append(threading.current_thread())
        return decode(*given, **options)

    monkeypatch.setattr(house.model.text, "decode", watched)
    (space,) = house.model.text.encode(" the")
    for num_tokens in (INLINE_TOKENS, INLINE_TOKENS + 1):
        assert ask("/detokenize", {"tokens": [space] * num_tokens}).json == {"prompt": " the" * num_tokens}
    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()
    call = ask("/detokenize", {"tokens": [1] * (MAX_DETOKENIZED + 1)})
    assert (call.status, call.error["param"]) == (400, "tokens")


def test_readiness_is_that_of_the_pool(house: Any, ask: Callable[..., Any]) -> None:
    assert ask("/ready", method="GET").json == {"status": "ready", "reasons": []}
    house.pool.state = ModelState(
        name="demo", num_ready=0, num_engines=2, max_model_len=None, vocab_size=None, exactness=None
    )
    call = ask("/ready", method="GET")
    assert call.status == 503
    assert call.json == {"status": "not ready", "reasons": ["model 'demo' has no engine ready, of 2"]}


def test_without_a_word_from_an_engine_a_request_is_checked_by_the_engine(house: Any, ask: Callable[..., Any]) -> None:
    house.pool.state = None
    assert ask(CHAT, chat(max_tokens=9000)).status == 200
    assert house.pool.tickets[0].work.params.max_tokens == 9000


def test_the_description_names_every_route_and_every_reference_in_it_leads_somewhere(
    house: Any, ask: Callable[..., Any]
) -> None:
    document = ask("/openapi.json", method="GET").json
    routes = {route.path for route in house.app.routes}
    assert {path.replace("{model}", "{model_id:path}") for path in document["paths"]} == routes
    names = set(document["components"]["schemas"])
    referred = {part.partition('"')[0] for part in ask("/openapi.json", method="GET").text.split("schemas/")[1:]}
    assert referred <= names


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
