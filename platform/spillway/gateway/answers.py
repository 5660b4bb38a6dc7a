"""What clients get, field by field; the structs are also the schemas of `/openapi.json`."""

from typing import Literal

import msgspec

Reason = Literal["stop", "length"]


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all answers."""


class PromptTokensDetails(_Answer, frozen=True, kw_only=True):
    """Of the prompt's tokens."""

    cached_tokens: int


class UsageAnswer(_Answer, frozen=True, kw_only=True):
    """Tokens of an answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | None = None
    """Null when a stop string ended the answer before the engine told what it had found in its cache."""


class TopLogprob(_Answer, frozen=True, kw_only=True):
    """One candidate."""

    token: str
    logprob: float
    bytes: list[int] | None
    """Null for a token that is a part of a character."""


class TokenLogprobs(_Answer, frozen=True, kw_only=True):
    """The chosen token of one place and the likeliest ones."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[TopLogprob]


class ChatLogprobs(_Answer, frozen=True, kw_only=True):
    """Of a choice, or of one chunk."""

    content: list[TokenLogprobs]
    refusal: None = None


class AnswerMessage(_Answer, frozen=True, kw_only=True):
    """What the model says."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(_Answer, frozen=True, kw_only=True):
    """One of `n` answers."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: Reason


class ChatAnswer(_Answer, frozen=True, kw_only=True):
    """`POST /v1/chat/completions`."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageAnswer
    service_tier: str
    system_fingerprint: str


class TextLogprobs(_Answer, frozen=True, kw_only=True):
    """Of a text completion; lists run in parallel."""

    tokens: list[str]
    token_logprobs: list[float | None]
    """Null for the first token of an echoed prompt."""
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(_Answer, frozen=True, kw_only=True):
    """One completion; those of the first prompt come first."""

    text: str
    index: int
    logprobs: TextLogprobs | None = None
    finish_reason: Reason | None


class CompletionAnswer(_Answer, frozen=True, kw_only=True):
    """`POST /v1/completions`."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: UsageAnswer
    system_fingerprint: str


class GeneratedOutput(_Answer, frozen=True, kw_only=True):
    """One output; those of the first prompt come first."""

    index: int
    text: str
    token_ids: list[int]
    finish_reason: Reason


class GenerateAnswer(_Answer, frozen=True, kw_only=True):
    """`POST /generate` and `POST /generate_batch`."""

    outputs: list[GeneratedOutput]
    usage: UsageAnswer
    id: str
    model: str


class ModelAnswer(_Answer, frozen=True, kw_only=True):
    """`GET /v1/models/{id}`."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "spillway"


class ModelList(_Answer, frozen=True, kw_only=True):
    """`GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[ModelAnswer]


class TokenizeAnswer(_Answer, frozen=True, kw_only=True):
    """`POST /tokenize`."""

    tokens: list[int]
    count: int
    max_model_len: int | None
    """Null until an engine of the model has been ready."""


class DetokenizeAnswer(_Answer, frozen=True, kw_only=True):
    """`POST /detokenize`."""

    prompt: str


class HealthAnswer(_Answer, frozen=True, kw_only=True):
    """`GET /health`."""

    status: Literal["healthy"] = "healthy"


class ReadyAnswer(_Answer, frozen=True, kw_only=True):
    """`GET /ready`."""

    status: Literal["ready", "not ready"]
    reasons: list[str]
    """Why not; empty if ready."""
