"""What a request wishes, its model prefers and the server ships, put together."""

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from spillway.gateway.models import GenerationConfig, Model, read_generation_config
from spillway.gateway.problems import Problem
from spillway.gateway.sampling import draw_seed, sampling_params, stops_of, tier_of
from spillway.gateway.schema import GenerateRequest
from spillway.settings import GenerationSettings
from spillway_wire.sampling import SamplingParams


@pytest.fixture(scope="module")
def model(gateway_house: ModuleType) -> Model:
    return Model.load("demo", gateway_house.DEMO)


def params(model: Model, wishes: dict[str, Any], preferences: GenerationConfig | None = None) -> SamplingParams:
    preferring = with_preferences(model, preferences or GenerationConfig())
    request = GenerateRequest(prompt="x", **wishes)
    return sampling_params(
        request, preferring, GenerationSettings(), max_tokens=50, vocab_size=3072, seed=4711, logprobs=None
    )


def with_preferences(model: Model, preferences: GenerationConfig) -> Model:
    return Model(name=model.name, path=model.path, text=model.text, preferences=preferences)


def test_what_nobody_says_is_as_shipped(model: Model) -> None:
    found = params(model, {})
    assert (found.temperature, found.top_p, found.top_k, found.repetition_penalty) == (0.7, 0.95, -1, 1.0)
    assert (found.presence_penalty, found.frequency_penalty, found.min_p, found.min_tokens) == (0.0, 0.0, 0.0, 0)
    assert found.seed == 4711


def test_the_models_preference_goes_before_what_is_shipped_and_the_request_before_both(model: Model) -> None:
    prefers = GenerationConfig(temperature=0.3, top_p=0.5, top_k=40, min_p=0.1, repetition_penalty=1.2)
    found = params(model, {"top_p": 0.9}, prefers)
    assert (found.temperature, found.top_p, found.top_k) == (0.3, 0.9, 40)
    assert (found.min_p, found.repetition_penalty) == (0.1, 1.2)


def test_a_wish_of_zero_is_a_wish(model: Model) -> None:
    found = params(model, {"temperature": 0.0, "min_p": 0.0, "seed": 0}, GenerationConfig(temperature=0.9, min_p=0.5))
    assert (found.temperature, found.min_p, found.seed) == (0.0, 0.0, 0)


def test_a_top_p_of_zero_keeps_the_likeliest_token_alone(model: Model) -> None:
    assert 0.0 < params(model, {"top_p": 0.0}).top_p < 1 / 10_000


def test_a_negative_seed_is_64_bits_all_the_same(model: Model) -> None:
    assert params(model, {"seed": -1}).seed == 2**64 - 1


@pytest.mark.parametrize(
    ("wishes", "param"),
    [
        ({"min_tokens": 51}, "min_tokens"),
        ({"stop_token_ids": [3072]}, "stop_token_ids"),
        ({"logit_bias": {3072: 1.0}}, "logit_bias"),
        ({"logit_bias": {-1: 1.0}}, "logit_bias"),
        ({"top_k": 0}, "top_k"),
    ],
)
def test_what_does_not_fit_the_model_is_named(model: Model, wishes: dict[str, Any], param: str) -> None:
    with pytest.raises(Problem) as caught:
        params(model, wishes)
    assert caught.value.param == param


def test_a_seed_is_drawn_from_the_servers_and_the_requests_id_alone() -> None:
    assert draw_seed(0, "a") == draw_seed(0, "a")
    assert len({draw_seed(server, request) for server in (0, 1, -1) for request in ("a", "b", "a-0")}) == 9
    assert all(0 <= draw_seed(0, str(number)) < 2**64 for number in range(100))


@pytest.mark.parametrize(
    ("wish", "tier"), [(None, "default"), ("auto", "default"), ("default", "default"), ("flex", "flex")]
)
def test_the_tier_that_is_got_is_told(wish: str | None, tier: str) -> None:
    assert tier_of(GenerateRequest(prompt="x", service_tier=wish)) == tier


def test_a_tier_that_is_not_offered_is_refused() -> None:
    with pytest.raises(Problem) as caught:
        tier_of(GenerateRequest(prompt="x", service_tier="scale"))
    assert caught.value.param == "service_tier"


def test_stop_strings_come_alone_or_in_a_list_and_count_once() -> None:
    assert stops_of(GenerateRequest(prompt="x")) == ()
    assert stops_of(GenerateRequest(prompt="x", stop="a")) == ("a",)
    assert stops_of(GenerateRequest(prompt="x", stop=["b", "a", "b"])) == ("b", "a")


def test_generation_config_is_read_with_its_own_way_of_saying_all_tokens(tmp_path: Path) -> None:
    assert read_generation_config(tmp_path) == GenerationConfig()
    file = tmp_path / "generation_config.json"
    file.write_bytes(msgspec.json.encode({"temperature": 0.6, "top_k": 0, "do_sample": False, "max_new_tokens": -1}))
    assert read_generation_config(tmp_path) == GenerationConfig(temperature=0.6, top_k=-1)
    file.write_bytes(b"not json")
    assert read_generation_config(tmp_path) == GenerationConfig()


def test_a_fingerprint_changes_with_what_decides_on_answers_and_with_nothing_else(
    gateway_house: ModuleType, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(gateway_house.DEMO, folder)
    before = Model.load("demo", folder).fingerprint
    (folder / "README.md").write_text("other words")
    assert Model.load("other name", folder).fingerprint == before
    (folder / "generation_config.json").write_text('{"temperature": 0.1}')
    assert Model.load("demo", folder).fingerprint != before
