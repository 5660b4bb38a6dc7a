"""What the forms share: usage, log-probabilities, and the pieces that server-sent events are put together from.

A chunk of a stream in OpenAI's form; all but its choice is the same in every chunk, and is written once::

    data: {"id":…,"object":…,"created":…,"model":…,"system_fingerprint":…,"choices":[   start
    {"index":0,"delta":{"content":" 4"},"logprobs":null,"finish_reason":null}            a form's own
    ],"usage":null}                                                                      end
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from spillway.gateway.answers import PromptTokensDetails, Reason, TokenLogprobs, TopLogprob, UsageAnswer
from spillway.gateway.models import Model
from spillway.gateway.plan import Form, Head, Usage
from spillway.gateway.schema import StreamOptions
from spillway_wire.messages import TokenLogprob
from spillway_wire.outcomes import FinishReason

to_json: Final = msgspec.json.Encoder().encode
DONE: Final = b"data: [DONE]\n\n"
END_OF_EVENT: Final = b"\n\n"
REASONS: Final[dict[FinishReason | None, Reason]] = {FinishReason.STOP: "stop", FinishReason.LENGTH: "length"}

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


class ChunkedForm(Form):
    """A form whose stream is OpenAI's chunks: what is around their choices, and how the stream closes."""

    def __init__(self, head: Head, answer_id: str, kind: str, options: StreamOptions | None, **more: str) -> None:
        """`kind` is what chunks call themselves (`object`); `more` are fields that only this form has."""
        self._head = head
        self._id = answer_id
        self._with_usage = bool(options and options.include_usage)
        common = to_json(
            {
                "id": answer_id,
                "object": kind,
                "created": head.created,
                "model": head.model.name,
                **more,
                "system_fingerprint": head.model.fingerprint,
            }
        )
        self._start = b"data: " + common[:-1] + b',"choices":['
        self._end = b"]" + (b',"usage":null' if self._with_usage else b"") + b"}" + END_OF_EVENT

    def closing(self, usage: Usage) -> bytes:
        """Write the counts, if they are wanted, and the end."""
        if not self._with_usage:
            return DONE
        return self._start + b'],"usage":' + to_json(usage_answer(usage)) + b"}" + END_OF_EVENT + DONE


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
