"""What can be asked for without generating anything: models, tokens, readiness, the description."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from spillway.gateway.information import INLINE_TOKENS
from spillway.gateway.schema import MAX_DETOKENIZED
from spillway.pool.contract import ModelState

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Count from 2 to 5"}]


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": MESSAGES} | fields


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
    assert call.json == {"status": "not ready", "reasons": ["model demo: no engine is ready, of 2"]}


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
