"""Sampling parameters of one request, and the one place that says which values are allowed."""

import math
from collections.abc import Iterator

import msgspec

MAX_LOGPROBS = 20
MAX_STOP_TOKENS = 64
MAX_BIASED_TOKENS = 1024
NO_TOP_K = -1
"""`top_k` value that keeps the whole vocabulary."""


class SamplingParams(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """How to choose each next token. The defaults sample from the model's own distribution.

    Noise for the token at output position i comes from a counter-based generator keyed by (seed, choice, i), so the
    same request gives the same tokens on any engine and at any moment.
    """

    temperature: float = 1.0
    """0 is greedy: the most likely token, the lowest id among equals."""
    top_k: int = NO_TOP_K
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens seen in the prompt or the output."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    """Presence and frequency look at the output only, as OpenAI's do."""
    logit_bias: dict[int, float] = {}
    seed: int = 0
    """64 bits, unsigned. Whoever wants different answers draws one; an engine never does."""
    max_tokens: int | None = None
    """Output tokens; None is what is left of the context."""
    min_tokens: int = 0
    """Until then end-of-sequence and stop tokens are not sampled."""
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    """None: no logprobs. 0 to 20: the chosen token's, and that many of the most likely ones."""
    prompt_logprobs: int | None = None
    """The same for every prompt token but the first."""

    @property
    def greedy(self) -> bool:
        """Whether no noise enters the choice."""
        return self.temperature == 0.0

    @property
    def penalised(self) -> bool:
        """Whether the choice depends on which tokens were seen before."""
        return self.repetition_penalty != 1.0 or self.presence_penalty != 0.0 or self.frequency_penalty != 0.0


def sampling_problems(params: SamplingParams, vocab_size: int) -> Iterator[str]:
    """Say what is wrong with `params` for a model of `vocab_size` tokens: one sentence a problem."""
    yield from _outside("temperature", params.temperature, 0.0, 2.0)
    if params.top_k != NO_TOP_K and params.top_k < 1:
        yield f"top_k is {params.top_k}; it must be {NO_TOP_K} (all) or at least 1"
    if not 0.0 < params.top_p <= 1.0:
        yield f"top_p is {params.top_p}; it must be above 0 and at most 1"
    yield from _outside("min_p", params.min_p, 0.0, 1.0)
    if not (math.isfinite(params.repetition_penalty) and 0.0 < params.repetition_penalty <= 10.0):
        yield f"repetition_penalty is {params.repetition_penalty}; it must be above 0 and at most 10"
    yield from _outside("presence_penalty", params.presence_penalty, -2.0, 2.0)
    yield from _outside("frequency_penalty", params.frequency_penalty, -2.0, 2.0)
    yield from _bias_problems(params.logit_bias, vocab_size)
    if not 0 <= params.seed < 2**64:
        yield f"seed is {params.seed}; it must be from 0 to 2**64 - 1"
    if params.max_tokens is not None and params.max_tokens < 1:
        yield f"max_tokens is {params.max_tokens}; it must be at least 1"
    if params.min_tokens < 0 or (params.max_tokens is not None and params.min_tokens > params.max_tokens):
        yield f"min_tokens is {params.min_tokens}; it must be from 0 to max_tokens"
    if len(params.stop_token_ids) > MAX_STOP_TOKENS:
        yield f"stop_token_ids has {len(params.stop_token_ids)} entries; at most {MAX_STOP_TOKENS} are allowed"
    for token in params.stop_token_ids:
        if not 0 <= token < vocab_size:
            yield f"stop_token_ids holds {token}; the model's tokens are 0 to {vocab_size - 1}"
    for key, count in (("logprobs", params.logprobs), ("prompt_logprobs", params.prompt_logprobs)):
        if count is not None and not 0 <= count <= min(MAX_LOGPROBS, vocab_size):
            yield f"{key} is {count}; it must be from 0 to {min(MAX_LOGPROBS, vocab_size)}"


def _outside(key: str, value: float, low: float, high: float) -> Iterator[str]:
    if not low <= value <= high:  # also true of NaN
        yield f"{key} is {value}; it must be from {low:g} to {high:g}"


def _bias_problems(bias: dict[int, float], vocab_size: int) -> Iterator[str]:
    if len(bias) > MAX_BIASED_TOKENS:
        yield f"logit_bias has {len(bias)} entries; at most {MAX_BIASED_TOKENS} are allowed"
    for token, value in bias.items():
        if not 0 <= token < vocab_size:
            yield f"logit_bias names token {token}; the model's tokens are 0 to {vocab_size - 1}"
        if not -100.0 <= value <= 100.0:
            yield f"logit_bias of token {token} is {value}; it must be from -100 to 100"
