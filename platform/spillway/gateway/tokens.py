"""Prompts to token ids and their sampling parameters: inline if short, in a thread if long."""

import asyncio
from collections.abc import Sequence
from typing import Final

from spillway.gateway.plan import Plan, TextPrompt
from spillway.gateway.problems import Problem, invalid
from spillway.gateway.sampling import draw_seed, sampling_params
from spillway.settings import GenerationSettings
from spillway_wire.outcomes import Outcome
from spillway_wire.sampling import SamplingParams

INLINE_CHARACTERS: Final = 2048
"""Up to here tokenizing takes a millisecond or two; beyond, a thread does it, and the library lets go of the lock."""


async def prompt_tokens(plan: Plan, context: int | None) -> list[list[int]]:
    """Return the token ids of the plan's prompts. Raises `Problem`, also for a text that cannot fit into `context`."""
    if plan.size <= INLINE_CHARACTERS:
        return _tokenize(plan, context)
    return await asyncio.to_thread(_tokenize, plan, context)


def _tokenize(plan: Plan, context: int | None) -> list[list[int]]:
    prompts = plan.render()
    longest = plan.model.longest_token
    if context is not None and longest is not None:
        for prompt in prompts:
            if isinstance(prompt, TextPrompt) and len(prompt.text) > context * longest:
                measured = f"{len(prompt.text)} characters"
                said = f"the prompt has {measured}, and no token stands for more than {longest}"
                raise _too_long(plan, context, said, measured, plan.prompt_param)
    encode = plan.model.text.encode
    return [
        prompt if isinstance(prompt, list) else encode(prompt.text, add_special_tokens=prompt.special_tokens)
        for prompt in prompts
    ]


def plan_params(
    plan: Plan,
    prompts: Sequence[list[int]],
    settings: GenerationSettings,
    request_ids: Sequence[str],
    *,
    max_model_len: int | None,
    vocab_size: int,
) -> list[SamplingParams]:
    """Return the sampling parameters of each prompt. Raises `Problem` for what does not fit the model."""
    return [
        sampling_params(
            plan.request,
            plan.model,
            settings,
            max_tokens=_max_tokens(plan, prompt, max_model_len, vocab_size),
            vocab_size=vocab_size,
            seed=draw_seed(settings.seed, request_id),
            logprobs=plan.logprobs,
            prompt_logprobs=plan.prompt_logprobs,
        )
        for prompt, request_id in zip(prompts, request_ids, strict=True)
    ]


def _max_tokens(plan: Plan, prompt: list[int], context: int | None, vocab_size: int) -> int:
    if not prompt:
        raise invalid("the prompt is empty: there is nothing to go on from", plan.prompt_param, code="invalid_value")
    if max(prompt) >= vocab_size:
        raise invalid(
            f"the prompt holds token {max(prompt)}; the model's tokens are 0 to {vocab_size - 1}",
            plan.prompt_param,
            code="invalid_value",
        )
    wish = plan.max_tokens
    if context is None:  # no engine has said it yet; the engine that serves this will check
        return wish or plan.default_max_tokens
    left = context - len(prompt)
    if left < 1:
        raise _too_long(plan, context, f"the prompt has {len(prompt)} tokens", str(len(prompt)), plan.prompt_param)
    if wish is None:
        return min(plan.default_max_tokens, left)
    if wish > left:
        said = f"{len(prompt) + wish} tokens were asked for ({len(prompt)} in the prompt, {wish} in the answer)"
        param = plan.max_tokens_param if wish > context else plan.prompt_param
        raise _too_long(plan, context, said, str(len(prompt) + wish), param)
    return wish


def _too_long(plan: Plan, context: int, said: str, measured: str, param: str) -> Problem:
    return Problem(
        Outcome.TOO_LARGE,
        f"This model's maximum context length is {context} tokens; {said}. "
        f"Shorten {plan.prompt_param} or lower {plan.max_tokens_param}.",
        param=param,
        limit=f"max_model_len={context}",
        measured=measured,
    )
