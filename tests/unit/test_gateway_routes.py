"""Rules at work in a gateway: who serves, what is counted with, and what the answer says of it."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spillway.gateway.models import Model
from spillway.settings import RouteRule, Settings
from spillway_text.text import ModelText

MESSAGES = [{"role": "user", "content": "Count from 2 to 5"}]
RULES = (
    RouteRule(to="batch", tier="flex"),
    RouteRule(to="batch", header={"x-team": "research"}),
    RouteRule(to="long", model="default", prompt_tokens_at_least=60),
    RouteRule(to="demo", priority_at_most=-1),
    RouteRule(to="long", model="demo", prompt_tokens_at_least=60),
)


class Counting(ModelText):
    """A tokenizer that counts how often it is asked."""

    num_encoded = 0

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        self.num_encoded += 1
        return super().encode(text, add_special_tokens=add_special_tokens)


@pytest.fixture
def house(gateway_house: ModuleType, tmp_path: Path) -> Any:
    """A gateway that serves the demo model, itself again as `batch`, and a copy in a folder of its own as `long`."""
    house = gateway_house.House(settings=Settings(routes=RULES))
    copy = tmp_path / "long"
    shutil.copytree(house.model.path, copy, ignore=shutil.ignore_patterns("*.safetensors"))
    demo = replace(house.model, text=Counting(house.model.path))
    batch = replace(demo, name="batch", aliases=())
    long = replace(Model.load("long", copy), text=Counting(copy))
    house.gateway.models.install((demo, batch, long))
    house.texts = {"demo": demo.text, "long": long.text}
    return house


@pytest.fixture
def ask(house: Any, asgi: ModuleType) -> Callable[..., Any]:
    def serve(path: str = "/v1/chat/completions", *, headers: Any = (), **fields: Any) -> Any:
        body = {"model": "demo", "messages": MESSAGES} | fields if path.endswith("chat/completions") else fields
        return asyncio.run(asgi.Call(house.app, path, body, headers=headers).run())

    return serve


LONG = {"messages": [{"role": "user", "content": "Count from 2 to 5. " * 30}]}


@pytest.mark.parametrize(
    ("fields", "serves"),
    [
        ({}, "demo"),
        ({"model": "long"}, "long"),
        ({"service_tier": "flex"}, "batch"),
        ({"service_tier": "auto"}, "demo"),
        ({"headers": [(b"x-team", b"research")]}, "batch"),
        ({"headers": [(b"x-team", b"Research")]}, "demo"),
        (LONG, "long"),
        (LONG | {"model": "batch"}, "batch"),
        (LONG | {"service_tier": "flex"}, "batch"),
        (LONG | {"priority": -1}, "demo"),
        (LONG | {"priority": -1, "model": "default"}, "long"),
    ],
)
def test_the_first_rule_that_matches_chooses_who_serves_and_the_answer_says_who(
    house: Any, ask: Callable[..., Any], fields: dict[str, Any], serves: str
) -> None:
    call = ask(**fields)
    assert call.status == 200
    assert call.json["model"] == serves
    (ticket,) = house.pool.tickets
    assert ticket.work.model == serves


def test_a_stream_says_who_serves_too(ask: Callable[..., Any]) -> None:
    *chunks, done = ask(service_tier="flex", stream=True).events
    assert done == "[DONE]"
    assert {chunk["model"] for chunk in chunks} == {"batch"}


def test_a_request_that_names_no_model_is_routed_as_one_for_the_first(ask: Callable[..., Any]) -> None:
    assert ask("/generate", prompt="Hello").json["model"] == "demo"
    assert ask("/generate", prompt="Hello " * 80).json["model"] == "long"


def test_a_batch_is_as_long_as_its_longest_prompt(ask: Callable[..., Any]) -> None:
    assert ask("/generate_batch", prompts=["Hello", "Hello " * 80]).json["model"] == "long"


def test_tokens_are_counted_again_only_by_a_model_of_another_folder(house: Any, ask: Callable[..., Any]) -> None:
    ask(service_tier="flex")
    assert {name: text.num_encoded for name, text in house.texts.items()} == {"demo": 1, "long": 0}
    ask(**LONG)
    assert {name: text.num_encoded for name, text in house.texts.items()} == {"demo": 2, "long": 1}


def test_a_prompt_that_is_too_long_for_the_model_named_can_be_sent_to_one_that_takes_it(
    house: Any, ask: Callable[..., Any]
) -> None:
    far_too_long = [{"role": "user", "content": "Count from 2 to 5. " * 4000}]
    assert ask(messages=far_too_long).json["model"] == "long"
    assert len(house.pool.tickets[0].work.prompt_token_ids) > house.pool.state.max_model_len
    assert ask(messages=far_too_long, priority=-1).json["error"]["code"] == "context_length_exceeded"


def test_a_model_that_does_not_exist_is_not_routed(ask: Callable[..., Any]) -> None:
    assert ask(model="missing", service_tier="flex").status == 404
