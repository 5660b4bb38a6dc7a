"""What every endpoint makes of its request before the rest is the same for all: the plan of one answer."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from spillway.gateway.choices import ChoiceText, Part
from spillway.gateway.models import Model
from spillway.gateway.schema import SamplingFields


class TextPrompt(msgspec.Struct, frozen=True):
    """A prompt that is still text."""

    text: str
    special_tokens: bool
    """Whether the tokenizer adds its own; a rendered chat template has them already."""


Prompt = TextPrompt | list[int]


class Usage(msgspec.Struct, frozen=True):
    """Tokens of a whole answer."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None
    """None: not known, because a stop string ended the answer before the engine did."""


class Form(Protocol):
    """How an endpoint writes its answer. Methods of a stream return whole server-sent events."""

    def opening(self, choice: ChoiceText) -> bytes:
        """Write what comes before a choice's first text."""

    def delta(self, index: int, part: Part) -> bytes:
        """Write what can be shown now."""

    def ending(self, choice: ChoiceText) -> bytes:
        """Write why a choice ended."""

    def closing(self, usage: Usage) -> bytes:
        """Write what comes after all choices, the end of the stream included."""

    def whole(self, choices: Sequence[ChoiceText], parts: Sequence[Part], usage: Usage) -> bytes:
        """Write an answer that is not streamed, as JSON."""


class Head(msgspec.Struct, frozen=True):
    """What is the same in every chunk of an answer."""

    request_id: str
    """Without the endpoint's prefix."""
    created: int
    model: Model
    tier: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One answer to be: what to generate from, how, and in which form."""

    request: SamplingFields
    model: Model
    render: Callable[[], Sequence[Prompt]]
    """Returns the prompts; separate, because a long conversation is rendered off the event loop. Raises `Problem`."""
    size: int
    """About how many characters there are to render and tokenize."""
    prompt_param: str
    """What a prompt that is too long is blamed on."""
    max_tokens: int | None
    """The request's own; None: `default_max_tokens`, or what is left of the context."""
    max_tokens_param: str
    default_max_tokens: int
    form: Callable[[Head, Sequence[list[int]]], Form]
    """Makes the form of the answer once the prompts are token ids."""
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    continues: bool = False
    """Whether the answer goes on from the prompt's text: then its first word keeps the space before it."""
