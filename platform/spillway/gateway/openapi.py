"""`/openapi.json`, made from the structs that decode requests and encode answers, so that it cannot say otherwise."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import msgspec

from spillway.gateway.answers import (
    DetokenizeAnswer,
    HealthAnswer,
    ModelAnswer,
    ModelList,
    ReadyAnswer,
    TokenizeAnswer,
)
from spillway.gateway.endpoints.table import ENDPOINTS
from spillway.gateway.problems import ErrorBody
from spillway.gateway.schema import DetokenizeRequest, TokenizeRequest

_REFERENCES: Final = "#/components/schemas/{name}"
_TOKEN_KEYS: Final = {"pattern": "^[0-9]{1,9}$"}

_ERRORS: Final = {
    400: "The request can never succeed as it is; `param` names what is wrong.",
    404: "There is no such model.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    429: "Refused for now; `retry-after` says when to come back.",
    500: "A fault of the server.",
    503: "No capacity, or not in time; `retry-after` says when to come back.",
}
_STREAM: Final = (
    "With `stream`: server-sent events, `data: [DONE]` last. After an error, which is an event with `error`, there is "
    "no `[DONE]`."
)
_EVENT: Final = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string", "description": "A part of the answer as JSON, an error, or `[DONE]`."}},
}
"""Before OpenAPI 3.2 the schema of an event stream describes each event."""
_DEADLINE: Final = (
    "The header `x-request-timeout` bounds the time that the request may take, in seconds; `x-stainless-read-timeout`, "
    "which OpenAI's clients send, does so for the first byte."
)


def document() -> dict[str, Any]:
    """Return the description of the API, OpenAPI 3.1."""
    paths: dict[str, Any] = {
        endpoint.path: {
            "post": _operation(
                endpoint.name,
                f"{endpoint.plan.__module__.rpartition('.')[2]}: {endpoint.request.__doc__ or ''}",
                answers={200: endpoint.answer},
                request=endpoint.request,
                stream=True,
                errors=_ERRORS,
            )
        }
        for endpoint in ENDPOINTS
    }
    wrong = (400, 404, 408, 413, 500)
    paths["/tokenize"] = {
        "post": _operation("tokenize", "Text or messages to token ids.", {200: TokenizeAnswer}, TokenizeRequest, wrong)
    }
    paths["/detokenize"] = {
        "post": _operation("detokenize", "Token ids to text.", {200: DetokenizeAnswer}, DetokenizeRequest, wrong)
    }
    paths["/v1/models"] = {"get": _operation("models", "The models that requests may name.", {200: ModelList})}
    paths["/v1/models/{model}"] = {
        "get": _operation("model", "One of them.", {200: ModelAnswer}, errors=(400, 404)),
        "parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}],
    }
    paths["/health"] = {"get": _operation("health", "Whether this process lives.", {200: HealthAnswer})}
    paths["/ready"] = {
        "get": _operation("ready", "Whether a request sent now would be served.", {200: ReadyAnswer, 503: ReadyAnswer})
    }
    paths["/openapi.json"] = {
        "get": {
            "operationId": "openapi",
            "summary": "This document.",
            "responses": {"200": {"description": "OpenAPI 3.1.", "content": _json({"type": "object"})}},
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Spillway", "version": _version(), "description": "An OpenAI-compatible LLM server."},
        "paths": paths,
        "components": {"schemas": _schemas()},
    }


def _operation(
    name: str,
    summary: str,
    answers: dict[int, type[Any]],
    request: type[Any] | None = None,
    errors: Iterable[int] = (500,),
    *,
    stream: bool = False,
) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, answer in answers.items():
        responses[str(status)] = {"description": answer.__doc__ or "", "content": _json(_reference(answer))}
    if stream:
        responses["200"]["description"] += f" {_STREAM}"
        responses["200"]["content"]["text/event-stream"] = {"schema": _EVENT}
    for status in errors:
        responses[str(status)] = {"description": _ERRORS[status], "content": _json(_reference(ErrorBody))}
    operation: dict[str, Any] = {"operationId": name, "summary": summary, "responses": responses}
    if stream:
        operation["description"] = _DEADLINE
    if request is not None:
        operation["requestBody"] = {"required": True, "content": _json(_reference(request))}
    return operation


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _reference(kind: type[Any]) -> dict[str, str]:
    return {"$ref": _REFERENCES.format(name=kind.__name__)}


def _schemas() -> dict[str, Any]:
    kinds: set[type[Any]] = {
        *(endpoint.request for endpoint in ENDPOINTS),
        *(endpoint.answer for endpoint in ENDPOINTS),
        *(TokenizeRequest, TokenizeAnswer, DetokenizeRequest, DetokenizeAnswer),
        *(ModelAnswer, ModelList, HealthAnswer, ReadyAnswer, ErrorBody),
    }
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_REFERENCES)
    for schema in schemas.values():
        bias = schema.get("properties", {}).get("logit_bias")
        if bias is not None:  # JSON's keys are strings, and nothing else says that these are token ids
            for form in bias["anyOf"]:
                if form.get("type") == "object":
                    form["propertyNames"] = _TOKEN_KEYS
    return dict(sorted(schemas.items()))


def _version() -> str:
    try:
        return version("spillway")
    except PackageNotFoundError:  # run from a source tree
        return "0"
