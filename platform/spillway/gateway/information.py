"""What can be asked for without generating anything: models, tokens, health, readiness, the API's own description."""

import asyncio
from functools import partial
from typing import Any, Final

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from spillway.admission.contract import Caller
from spillway.admission.identity.identify import check_model, may_use
from spillway.gateway.answers import (
    DetokenizeAnswer,
    HealthAnswer,
    ModelAnswer,
    ModelList,
    ReadyAnswer,
    TokenizeAnswer,
)
from spillway.gateway.body import Reader, read_body
from spillway.gateway.endpoints.chat import render_chat, template_message
from spillway.gateway.gateway import Gateway, unknown_model
from spillway.gateway.models import Model
from spillway.gateway.openapi import document
from spillway.gateway.plan import TextPrompt
from spillway.gateway.problems import Problem, invalid
from spillway.gateway.readiness import readiness_facts
from spillway.gateway.schema import DetokenizeRequest, TokenizeRequest
from spillway.gateway.tokens import INLINE_CHARACTERS
from spillway.json_response import json_response
from spillway.pool.contract import Refused
from spillway.readiness import reasons_not_ready
from spillway_wire.outcomes import Outcome

INLINE_TOKENS: Final = 2048
"""Up to here detokenizing takes a fraction of a millisecond; beyond, a thread does it."""


def information_handlers(gateway: Gateway) -> list[HTTPRouteHandler]:
    """Return the handlers, which hold on to the gateway."""
    description = msgspec.json.encode(document())

    @get("/health", name="health")
    async def health() -> Response[bytes]:
        return json_response(HealthAnswer())

    @get("/ready", name="ready")
    async def ready() -> Response[bytes]:
        reasons = reasons_not_ready(readiness_facts(gateway))
        if reasons:
            return json_response(ReadyAnswer(status="not ready", reasons=reasons), 503)
        return json_response(ReadyAnswer(status="ready", reasons=[]))

    @get("/openapi.json", name="openapi")
    async def openapi() -> Response[bytes]:
        return Response(description, media_type=MediaType.JSON)

    @get("/v1/models", name="models")
    async def models(request: Request[Any, Any, Any]) -> Response[bytes]:
        tenant = (await _caller(gateway, request)).tenant
        shown = [model for model in gateway.models if may_use(tenant, model.name)]
        return json_response(ModelList(data=[_model_answer(model, name) for model in shown for name in model.names]))

    @get("/v1/models/{model_id:path}", name="model")
    async def model(request: Request[Any, Any, Any], model_id: FromPath[str]) -> Response[bytes]:
        tenant = (await _caller(gateway, request)).tenant
        name = model_id.removeprefix("/")
        found = gateway.models.get(name)
        if found is None or not may_use(tenant, found.name):
            raise unknown_model(name)
        return json_response(_model_answer(found, name))

    return [health, ready, openapi, models, model, *_token_handlers(gateway)]


def _token_handlers(gateway: Gateway) -> list[HTTPRouteHandler]:
    max_depth = gateway.settings.limits.max_json_depth
    read_tokenize = Reader(TokenizeRequest, max_depth=max_depth)
    read_detokenize = Reader(DetokenizeRequest, max_depth=max_depth)

    async def read(request: Request[Any, Any, Any]) -> bytes:
        limits = gateway.settings.limits  # a reload may change them
        raw = await read_body(
            request.receive, request.scope["headers"], max_bytes=limits.max_body_bytes, patience_s=limits.slow_reader_s
        )
        if raw is None:
            raise Problem(Outcome.CLIENT_GONE, "the client closed the connection")
        return raw

    @post("/tokenize", name="tokenize", status_code=200)
    async def tokenize(request: Request[Any, Any, Any]) -> Response[bytes]:
        caller = await _caller(gateway, request)
        asked = read_tokenize(await read(request))
        model = _model(gateway, caller, asked.model)
        if _size(asked) > INLINE_CHARACTERS:
            tokens = await asyncio.to_thread(_tokens, model, asked)
        else:
            tokens = _tokens(model, asked)
        state = gateway.model_state(model)
        return json_response(
            TokenizeAnswer(tokens=tokens, count=len(tokens), max_model_len=state.max_model_len if state else None)
        )

    @post("/detokenize", name="detokenize", status_code=200)
    async def detokenize(request: Request[Any, Any, Any]) -> Response[bytes]:
        caller = await _caller(gateway, request)
        asked = read_detokenize(await read(request))
        text = _model(gateway, caller, asked.model).text
        largest = max(asked.tokens, default=0)
        if largest >= text.vocab_size:
            raise invalid(
                f"'tokens' holds {largest}; the model's tokens are 0 to {text.vocab_size - 1}",
                "tokens",
                code="invalid_value",
            )
        decode = partial(text.decode, asked.tokens, skip_special_tokens=asked.skip_special_tokens)
        prompt = decode() if len(asked.tokens) <= INLINE_TOKENS else await asyncio.to_thread(decode)
        return json_response(DetokenizeAnswer(prompt=prompt))

    return [tokenize, detokenize]


async def _caller(gateway: Gateway, request: Request[Any, Any, Any]) -> Caller:
    try:
        return await gateway.admission.identify(tuple(request.scope["headers"]))
    except Refused as refused:
        raise Problem.of(refused) from None


def _model(gateway: Gateway, caller: Caller, name: str | None) -> Model:
    model = gateway.model(name)
    try:
        check_model(caller, model.name)
    except Refused as refused:
        raise Problem.of(refused) from None
    return model


def _model_answer(model: Model, name: str) -> ModelAnswer:
    return ModelAnswer(id=name, created=model.created)


def _size(asked: TokenizeRequest) -> int:
    return len(asked.prompt or "") + sum(len(str(message.content)) for message in asked.messages or ())


def _tokens(model: Model, asked: TokenizeRequest) -> list[int]:
    if (asked.prompt is None) == (asked.messages is None):
        raise invalid("give either 'prompt' or 'messages'", "prompt", code="invalid_value")
    if asked.prompt is not None:
        return model.text.encode(asked.prompt, add_special_tokens=asked.add_special_tokens)
    prompts = render_chat(model, [template_message(message) for message in asked.messages or ()])
    return [token for prompt in prompts if isinstance(prompt, TextPrompt) for token in _encode(model, prompt)]


def _encode(model: Model, prompt: TextPrompt) -> list[int]:
    return model.text.encode(prompt.text, add_special_tokens=prompt.special_tokens)
