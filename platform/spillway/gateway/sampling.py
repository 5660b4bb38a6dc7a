"""What a request wishes, what its model prefers, what the server ships: of the three, one set of parameters."""

import hashlib
from typing import Final, TypeVar

from spillway.gateway.models import Model
from spillway.gateway.problems import Problem, invalid
from spillway.gateway.schema import SamplingFields
from spillway.settings import GenerationSettings
from spillway_wire.sampling import SamplingParams, sampling_problems

N = TypeVar("N", int, float)

_SMALLEST_TOP_P: Final = 1e-6
"""Stands for a top_p of 0, which keeps the most likely token alone: any share this small does."""

TIERS: Final = {"auto": "default", "default": "default", "flex": "flex", "priority": "priority"}
"""What a request may ask for, and the tier it then gets."""


def draw_seed(server_seed: int, request_id: str) -> int:
    """Return 64 bits for a request that has no seed: the same for the same request, wherever it runs."""
    digest = hashlib.blake2b(request_id.encode(), digest_size=8, key=server_seed.to_bytes(16, "little", signed=True))
    return int.from_bytes(digest.digest(), "little")


def tier_of(request: SamplingFields) -> str:
    """Return the service tier that the request gets. Raises `Problem` for one that is not offered."""
    tier = TIERS.get(request.service_tier or "auto")
    if tier is None:
        raise invalid(
            f"service_tier {request.service_tier!r} is not offered; it must be one of {', '.join(TIERS)}",
            "service_tier",
            code="unsupported_value",
        )
    return tier


def stops_of(request: SamplingFields) -> tuple[str, ...]:
    """Return the stop strings, each once."""
    if request.stop is None:
        return ()
    return (request.stop,) if isinstance(request.stop, str) else tuple(dict.fromkeys(request.stop))


def sampling_params(
    request: SamplingFields,
    model: Model,
    settings: GenerationSettings,
    *,
    max_tokens: int,
    vocab_size: int,
    seed: int,
    logprobs: int | None = None,
    prompt_logprobs: int | None = None,
) -> SamplingParams:
    """Fill in what the request leaves open. `max_tokens` and the log-probabilities are worked out by the caller.

    Raises `Problem` that names the field.
    """
    prefer = model.preferences
    top_p = _first(request.top_p, prefer.top_p, settings.top_p)
    params = SamplingParams(
        temperature=_first(request.temperature, prefer.temperature, settings.temperature),
        top_k=_first(request.top_k, prefer.top_k, settings.top_k),
        top_p=max(top_p, _SMALLEST_TOP_P),
        min_p=_first(request.min_p, prefer.min_p, 0.0),
        repetition_penalty=_first(request.repetition_penalty, prefer.repetition_penalty, settings.repetition_penalty),
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        logit_bias=request.logit_bias or {},
        seed=seed if request.seed is None else request.seed % 2**64,
        max_tokens=max_tokens,
        min_tokens=request.min_tokens or 0,
        stop_token_ids=tuple(dict.fromkeys(request.stop_token_ids or ())),
        ignore_eos=bool(request.ignore_eos),
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
    )
    for problem in sampling_problems(params, vocab_size):
        raise _named(problem)
    return params


def _first(wish: N | None, preference: N | None, shipped: N) -> N:
    if wish is not None:
        return wish
    return shipped if preference is None else preference


def _named(problem: str) -> Problem:
    # its sentences begin with the key
    return invalid(f"Invalid value: {problem}", problem.partition(" ")[0], code="invalid_value")
