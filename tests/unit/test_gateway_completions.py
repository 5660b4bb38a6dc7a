"""`/v1/completions` from request to answer, and texts that go on from their prompt."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from spillway.gateway.models import Model
from spillway.pool.contract import Piece


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
