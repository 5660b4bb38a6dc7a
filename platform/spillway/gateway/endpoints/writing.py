"""What the forms share: usage, log-probabilities, and the pieces that server-sent events are put together from."""

from collections.abc import Sequence
from typing import Final

import msgspec

from spillway.gateway.answers import PromptTokensDetails, Reason, TokenLogprobs, TopLogprob, UsageAnswer
from spillway.gateway.models import Model
from spillway.gateway.plan import Usage
from spillway_wire.messages import TokenLogprob
from spillway_wire.outcomes import FinishReason

to_json: Final = msgspec.json.Encoder().encode
DONE: Final = b"data: [DONE]\n\n"
END_OF_EVENT: Final = b"\n\n"
REASONS: Final[dict[FinishReason | None, Reason]] = {FinishReason.STOP: "stop", FinishReason.LENGTH: "length"}

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


def usage_answer(usage: Usage) -> UsageAnswer:
    """Return OpenAI's form of the counts."""
    cached = usage.cached_tokens
    return UsageAnswer(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=None if cached is None else PromptTokensDetails(cached_tokens=cached),
    )


def token_bytes(text: str) -> list[int] | None:
    """Return the bytes of a token's text, or None if it alone is no text."""
    return None if _REPLACEMENT in text else list(text.encode())


def candidate(model: Model, token: TokenLogprob) -> TopLogprob:
    """Return one candidate with its text."""
    text = model.token_text(token.token_id)
    return TopLogprob(token=text, logprob=token.logprob, bytes=token_bytes(text))


def token_logprobs(model: Model, chosen: TokenLogprob, top: Sequence[TokenLogprob]) -> TokenLogprobs:
    """Return the chosen token and the likeliest ones with their texts."""
    text = model.token_text(chosen.token_id)
    return TokenLogprobs(
        token=text,
        logprob=chosen.logprob,
        bytes=token_bytes(text),
        top_logprobs=[candidate(model, token) for token in top],
    )
