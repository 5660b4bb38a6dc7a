"""No token lost, none doubled: what a receiver does with a delta, decided by positions alone."""

from dataclasses import dataclass

import msgspec

from spillway_wire.messages import Delta


@dataclass(frozen=True, slots=True)
class Gap:
    """A delta that begins after the last token known: tokens were lost on the way, the attempt is over."""

    expected: int
    got: int


def fresh_part(delta: Delta, num_known: int) -> Delta | Gap:
    """Return `delta` without the tokens that the receiver of `num_known` output tokens has, or the gap.

    What is not a token (moments, prompt logprobs, the finish) passes unchanged.
    """
    if delta.position == num_known:
        return delta
    if delta.position > num_known:
        # A delta without tokens states a position too: where its sender stands.
        return Gap(expected=num_known, got=delta.position)
    repeated = num_known - delta.position
    return msgspec.structs.replace(
        delta,
        position=num_known,
        token_ids=delta.token_ids[repeated:],
        logprobs=delta.logprobs[repeated:],
    )
