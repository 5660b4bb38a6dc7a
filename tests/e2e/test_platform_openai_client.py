"""The unmodified `openai` client against a running Spillway."""

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from spillway.bench.books import is_idle
from spillway.bench.served import Served
from spillway.bench.streams import Count

COUNT = Count(37, 90)


class Tokenized(openai.BaseModel):
    tokens: list[int]


def asked(count: Count = COUNT) -> list[Any]:
    return [{"role": "user", "content": count.prompt}]


@pytest.fixture
def client(served: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{served.api_url}/v1", api_key="nobody asks for it", max_retries=0) as client:
        yield client


def test_an_answer_is_whole(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="demo", messages=asked(), temperature=0)
    (choice,) = answer.choices
    assert choice.message.content is not None
    assert choice.message.content.strip() == COUNT.answer
    assert choice.message.role == "assistant"
    assert choice.finish_reason == "stop"
    assert answer.object == "chat.completion"
    assert answer.model == "demo"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == COUNT.num_tokens
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_is_the_same_answer_in_pieces_with_its_usage_at_the_end(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="demo", messages=asked(), temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )
    *parts, last = chunks
    assert "".join(part.choices[0].delta.content or "" for part in parts).strip() == COUNT.answer
    assert len(parts) > 2
    assert parts[0].choices[0].delta.role == "assistant"
    assert parts[-1].choices[0].finish_reason == "stop"
    assert all(part.usage is None for part in parts)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == COUNT.num_tokens
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1


def test_many_streams_at_once_do_not_mix(served: Served) -> None:
    counts = [Count(11 * number + 1, 11 * number + 40) for number in range(24)]

    async def test() -> list[str]:
        async with AsyncOpenAI(base_url=f"{served.api_url}/v1", api_key="-", max_retries=0) as client:

            async def one(count: Count) -> str:
                stream = await client.chat.completions.create(
                    model="demo", messages=asked(count), temperature=0, stream=True
                )
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream]).strip()

            return list(await asyncio.gather(*map(one, counts)))

    assert asyncio.run(test()) == [count.answer for count in counts]


def test_the_same_seed_gives_the_same_answers_and_choices_differ(client: OpenAI) -> None:
    def ask() -> list[str | None]:
        answer = client.chat.completions.create(
            model="demo",
            messages=[{"role": "user", "content": "Hello, how are you?"}],
            n=4,
            seed=7,
            temperature=2.0,
            max_tokens=40,
            extra_body={"ignore_eos": True},
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
        return [choice.message.content for choice in answer.choices]

    first = ask()
    assert ask() == first
    assert len(set(first)) > 1


def test_a_stop_string_across_tokens_ends_the_answer_and_does_not_leak(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="demo", messages=asked(), temperature=0, stop=["0 51 5", "nothing"])
    content = answer.choices[0].message.content
    assert content is not None
    assert content.strip() == " ".join(map(str, range(37, 50))) + " 5"
    assert answer.choices[0].finish_reason == "stop"
    stream = client.chat.completions.create(model="demo", messages=asked(), temperature=0, stop="0 51 5", stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == content


def test_max_tokens_ends_with_length(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="demo", messages=asked(), temperature=0, max_completion_tokens=5)
    assert answer.choices[0].finish_reason == "length"
    assert (answer.choices[0].message.content or "").split() == ["37", "38", "39", "40", "41"]


def test_logprobs_name_every_token_and_its_rivals(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="demo", messages=asked(), temperature=0, max_tokens=8, logprobs=True, top_logprobs=3
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert "".join(entry.token for entry in logprobs.content) == answer.choices[0].message.content
    for entry in logprobs.content:
        assert bytes(entry.bytes or ()).decode() == entry.token
        assert len(entry.top_logprobs) == 3
        assert entry.logprob == max(rival.logprob for rival in entry.top_logprobs) <= 0.0


def test_completions_take_texts_and_token_ids_and_several_of_them(served: Served, client: OpenAI) -> None:
    tokens = client.post(f"{served.api_url}/tokenize", cast_to=Tokenized, body={"prompt": "7 8 9"}).tokens
    fields: dict[str, Any] = {"model": "demo", "temperature": 0, "max_tokens": 4, "extra_body": {"ignore_eos": True}}
    answer = client.completions.create(prompt=["7 8 9", "20 21 22"], n=2, **fields)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.choices[0].text == answer.choices[1].text != answer.choices[2].text
    assert answer.usage is not None
    assert answer.usage.completion_tokens == sum(4 for _ in answer.choices)
    assert client.completions.create(prompt=tokens, **fields).choices[0].text == answer.choices[0].text
    echoed = client.completions.create(prompt="7 8 9", echo=True, **fields)
    assert echoed.choices[0].text == "7 8 9" + answer.choices[0].text


def test_models_can_be_listed_and_looked_up(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["demo"]
    assert client.models.retrieve("demo").object == "model"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nobody")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"n": 0}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"service_tier": "imperial"}, "service_tier"),
        ({"extra_body": {"no_such_field": 1}}, "no_such_field"),
        ({"messages": []}, "messages"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(client: OpenAI, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**({"model": "demo", "messages": asked()} | fields))
    assert caught.value.param is not None
    assert caught.value.param.startswith(param)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id


def test_a_prompt_beyond_the_context_and_a_model_that_is_not_served_are_told_apart(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "so on " * 5000}])
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nobody", messages=asked())
    assert missing.value.code == "model_not_found"


def test_every_answer_bears_its_request_id(client: OpenAI) -> None:
    response = client.chat.completions.with_raw_response.create(model="demo", messages=asked(), max_tokens=1)
    assert response.headers["x-request-id"] == response.request_id


def test_a_stream_that_the_client_closes_is_over_in_the_engine(served: Served, client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="demo", messages=asked(), max_tokens=1900, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()
    asyncio.run(served.until(is_idle))
