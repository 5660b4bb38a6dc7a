"""The endpoints that generate, one line each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from spillway.admission.contract import Kind
from spillway.gateway.answers import ChatAnswer, CompletionAnswer, GenerateAnswer
from spillway.gateway.endpoints.chat import plan_chat
from spillway.gateway.endpoints.completions import plan_completion
from spillway.gateway.endpoints.generate import plan_generate, plan_generate_batch
from spillway.gateway.plan import Plan
from spillway.gateway.schema import ChatRequest, CompletionRequest, GenerateBatchRequest, GenerateRequest


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What tells one endpoint from another."""

    name: str
    """Stable: a metric's label, a log's field."""
    kind: Kind
    """The class of call that it is limited as."""
    path: str
    request: type[Any]
    answer: type[Any]
    plan: Callable[..., Plan]
    """Takes the request, its model and the generation settings. Raises `Problem`."""


ENDPOINTS: Final = (
    Endpoint("chat", Kind.CHAT, "/v1/chat/completions", ChatRequest, ChatAnswer, plan_chat),
    Endpoint("completions", Kind.COMPLETIONS, "/v1/completions", CompletionRequest, CompletionAnswer, plan_completion),
    Endpoint("generate", Kind.GENERATE, "/generate", GenerateRequest, GenerateAnswer, plan_generate),
    Endpoint(
        "generate_batch", Kind.BATCH, "/generate_batch", GenerateBatchRequest, GenerateAnswer, plan_generate_batch
    ),
)
