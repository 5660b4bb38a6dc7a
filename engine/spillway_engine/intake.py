"""Intake: turns a client's `Submit` into a request and its sequences, or says what is wrong with it.

Refusing here what can never succeed is what lets the scheduler promise that everything it accepts gets done: each
sequence it is given fits into the model's context and, alone, into the cache.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from spillway_engine.errors import InvalidRequestError, RequestTooLargeError
from spillway_engine.request import Request, Sequence
from spillway_engine.settings import SchedulerSettings
from spillway_wire.messages import Submit
from spillway_wire.sampling import sampling_problems

MAX_CHOICES: Final = 128
MAX_CHOICE_INDEX: Final = 2**32 - 1
"""The random numbers of a choice are drawn from its index, in 32 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What a request is measured against."""

    settings: SchedulerSettings
    vocab_size: int
    eos_token_ids: frozenset[int]

    def accept(self, client_id: str, message: Submit, *, arrival: int, now_ns: int) -> tuple[Sequence, ...]:
        """Return one sequence a choice; they share the request, and none has been scheduled.

        Raises `InvalidRequestError` or `RequestTooLargeError`, whose message says what to do.
        """
        problems = [*sampling_problems(message.params, self.vocab_size), *self._problems(message)]
        if problems:
            raise InvalidRequestError("; ".join(problems))
        most = self._max_output_tokens(message)
        for choice in message.choices:
            if len(choice.output_token_ids) > most:
                raise InvalidRequestError(
                    f"choice {choice.index} comes with {len(choice.output_token_ids)} output tokens; it may have "
                    f"{most}: resume it with the limits that it was started with"
                )
        params = message.params
        eos = frozenset[int]() if params.ignore_eos else self.eos_token_ids
        request = Request(
            key=(client_id, message.request_id, message.attempt),
            prompt_token_ids=message.prompt_token_ids,
            params=params,
            arrival=arrival,
            priority=message.priority,
            deadline_ns=None if message.timeout_s is None else now_ns + round(message.timeout_s * 1e9),
            alone=message.alone,
            resumed=message.attempt > 1 or any(choice.output_token_ids for choice in message.choices),
            cache_salt=message.cache_salt,
            end_token_ids=eos.union(params.stop_token_ids),
        )
        return tuple(
            Sequence(request, choice.index, max_output_tokens=most, resumed_tokens=choice.output_token_ids)
            for choice in message.choices
        )

    def _problems(self, message: Submit) -> Iterable[str]:
        if not message.prompt_token_ids:
            yield "the prompt is empty; send at least one token"
        elif self._unknown(message.prompt_token_ids):
            yield f"the prompt holds a token that the model lacks; its tokens are 0 to {self.vocab_size - 1}"
        indices = [choice.index for choice in message.choices]
        if not indices:
            yield "choices is empty; ask for at least one"
        elif len(indices) > MAX_CHOICES:
            yield f"choices are {len(indices)}; ask for at most {MAX_CHOICES} in one request"
        elif min(indices) < 0 or max(indices) > MAX_CHOICE_INDEX or len(set(indices)) != len(indices):
            yield f"choices have the indices {indices}; they must be distinct and from 0 to {MAX_CHOICE_INDEX}"
        if any(choice.output_token_ids and self._unknown(choice.output_token_ids) for choice in message.choices):
            yield f"an output so far holds a token that the model lacks; its tokens are 0 to {self.vocab_size - 1}"
        if message.timeout_s is not None and not 0.0 <= message.timeout_s <= 1e6:  # also true of NaN
            yield f"timeout_s is {message.timeout_s}; it must be from 0 to 1000000 seconds, or left out"

    def _unknown(self, tokens: list[int] | tuple[int, ...]) -> bool:
        return min(tokens) < 0 or max(tokens) >= self.vocab_size

    def _max_output_tokens(self, message: Submit) -> int:
        """`max_tokens`, bounded by the context; by the cache as well if the client left it to us.

        The keys and values of the last sampled token are never computed, so the cache holds one token less.
        """
        num_prompt = len(message.prompt_token_ids)
        context, cache = self.settings.max_model_len, self.settings.num_blocks * self.settings.block_size
        if num_prompt + 1 > context:
            raise RequestTooLargeError(
                f"the prompt has {num_prompt} tokens and the model's context {context}; "
                f"shorten it to {context - 1} tokens or fewer"
            )
        if num_prompt > cache:
            raise RequestTooLargeError(
                f"the prompt has {num_prompt} tokens and the key-value cache holds {cache}; "
                f"shorten it, or give the engine a larger cache"
            )
        in_context, in_cache = context - num_prompt, cache - num_prompt + 1
        if message.params.max_tokens is None:
            return min(in_context, in_cache)
        wanted = min(message.params.max_tokens, in_context)
        if wanted > in_cache:
            raise RequestTooLargeError(
                f"prompt and output are {num_prompt} + {wanted} tokens and the key-value cache holds {cache}; "
                f"lower max_tokens to {in_cache} or less, or give the engine a larger cache"
            )
        return wanted
