"""What clients may send, field by field. Decoding is strict: what is not here is refused by name.

Bounds that one field alone decides stand here, so that they are in `/openapi.json` too; those that depend on another
field, on the model or on what is served are the endpoints'. A field of type None is one of OpenAI's that Spillway does
not support: null is no wish, anything else is refused.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from spillway_wire.sampling import MAX_BIASED_TOKENS, MAX_LOGPROBS, MAX_STOP_TOKENS

MAX_PROMPTS = 256
"""Of one request: a batch is one arrival, and should not be a way around the queue's bound."""
MAX_DETOKENIZED = 2**20
"""Tokens of one `/detokenize`: more than any model's context."""

_MAX_TOKEN = 2**31 - 1

TokenId = Annotated[int, Meta(ge=0, le=_MAX_TOKEN)]
StopString = Annotated[str, Meta(min_length=1, max_length=1024)]
Count = Annotated[int, Meta(ge=1, le=_MAX_TOKEN)]
Label = Annotated[str, Meta(max_length=512)]


class _Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all requests."""


class StreamOptions(_Request, frozen=True, kw_only=True):
    """Only with `stream`."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Only false: nothing is padded."""


class SamplingFields(_Request, frozen=True, kw_only=True):
    """What every endpoint that generates understands."""

    max_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    stop: StopString | Annotated[list[StopString], Meta(max_length=4)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    logit_bias: (
        Annotated[dict[int, Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=MAX_BIASED_TOKENS)] | None
    ) = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    service_tier: str | None = None
    user: Label | None = None
    metadata: Annotated[dict[Annotated[str, Meta(max_length=64)], Label], Meta(max_length=16)] | None = None

    # Spillway's own
    top_k: Annotated[int, Meta(ge=-1, le=_MAX_TOKEN)] | None = None
    """-1: all."""
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=_MAX_TOKEN)] | None = None
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=MAX_STOP_TOKENS)] | None = None
    ignore_eos: bool | None = None
    priority: Annotated[int, Meta(ge=-100, le=100)] | None = None
    """Lower is more important; within a service tier."""
    cache_salt: Annotated[str, Meta(max_length=128)] | None = None
    """Prefixes in the cache are shared only between requests of the same salt."""


class TextPart(_Request, frozen=True, kw_only=True):
    """A part of a message's content; there are no others than text."""

    type: Literal["text"]
    text: str


class ChatMessage(_Request, frozen=True, kw_only=True):
    """One message. What an answer's message holds may be sent back as it came."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: Label | None = None
    tool_call_id: Label | None = None
    refusal: None = None
    annotations: None = None
    audio: None = None
    function_call: None = None
    tool_calls: None = None


class ResponseFormat(_Request, frozen=True, kw_only=True):
    """Free text is the only form of answer."""

    type: Literal["text"]


class ChatRequest(SamplingFields, frozen=True, kw_only=True):
    """`POST /v1/chat/completions`."""

    model: str
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    response_format: ResponseFormat | None = None
    modalities: list[Literal["text"]] | None = None
    safety_identifier: Label | None = None
    store: bool | None = None
    """Only false: nothing is kept."""

    audio: None = None
    function_call: None = None
    functions: None = None
    moderation: None = None
    parallel_tool_calls: None = None
    prediction: None = None
    prompt_cache_key: None = None
    prompt_cache_options: None = None
    prompt_cache_retention: None = None
    reasoning_effort: None = None
    tool_choice: None = None
    tools: None = None
    verbosity: None = None
    web_search_options: None = None


class CompletionRequest(SamplingFields, frozen=True, kw_only=True):
    """`POST /v1/completions`."""

    model: str
    prompt: str | Annotated[list[str | TokenId | list[TokenId]], Meta(min_length=1)]
    """A text, several, the token ids of one, or those of several."""
    best_of: Annotated[int, Meta(ge=1, le=10)] | None = None
    """Only as many as `n`: every answer is returned."""
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    suffix: None = None


class GenerateRequest(SamplingFields, frozen=True, kw_only=True):
    """`POST /generate`."""

    prompt: str
    model: str | None = None
    """May be left out where one model is served, or the first is meant."""
    raw: bool | None = None
    """Give the prompt to the model as it is; else its chat template makes a user's message of it."""


class GenerateBatchRequest(SamplingFields, frozen=True, kw_only=True):
    """`POST /generate_batch`."""

    prompts: Annotated[list[str], Meta(min_length=1, max_length=MAX_PROMPTS)]
    model: str | None = None
    raw: bool | None = None


class TokenizeRequest(_Request, frozen=True, kw_only=True):
    """`POST /tokenize`: of a text, or of the prompt that the chat template makes of messages."""

    prompt: str | None = None
    messages: Annotated[list[ChatMessage], Meta(min_length=1)] | None = None
    model: str | None = None
    add_special_tokens: bool = True
    """Of a text; a chat template adds its own."""


class DetokenizeRequest(_Request, frozen=True, kw_only=True):
    """`POST /detokenize`."""

    tokens: Annotated[list[TokenId], Meta(max_length=MAX_DETOKENIZED)]
    model: str | None = None
    skip_special_tokens: bool = False


def unsupported_fields(request: type[msgspec.Struct]) -> frozenset[str]:
    """Return the names of the fields that are known and not supported."""
    return frozenset(field.name for field in msgspec.structs.fields(request) if field.type is type(None))


REQUESTS: tuple[type[Any], ...] = (
    ChatRequest,
    CompletionRequest,
    GenerateRequest,
    GenerateBatchRequest,
    TokenizeRequest,
    DetokenizeRequest,
)
