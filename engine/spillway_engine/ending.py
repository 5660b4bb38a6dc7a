"""How a sequence ends: when its output is complete, and what is said of it then."""

from spillway_engine.request import Sequence
from spillway_wire.messages import Finish, Usage
from spillway_wire.outcomes import FinishReason, Outcome


def finish_reason(sequence: Sequence) -> FinishReason | None:
    """Return why the output is complete, None while it is not. Looks at the last token only.

    The first `min_tokens` output tokens never end it: the sampler does not choose an ending token there.
    """
    request = sequence.request
    num_output = len(sequence.tokens) - sequence.num_prompt
    if num_output and sequence.tokens[-1] in request.end_token_ids and num_output > request.params.min_tokens:
        return FinishReason.STOP
    return FinishReason.LENGTH if num_output >= sequence.max_output_tokens else None


def finish_of(sequence: Sequence, outcome: Outcome, reason: FinishReason | None, message: str) -> Finish:
    """Describe the end of `sequence`."""
    usage = Usage(
        prompt_tokens=sequence.num_prompt, cached_tokens=sequence.cached_tokens, output_tokens=sequence.num_output
    )
    return Finish(outcome=outcome, reason=reason, usage=usage, message=message)
