"""Decisions at an engine's end: what becomes of each request that was on it. Pure, but for the strikes it counts.

::

    its tokens are complete, only word of the end was lost      ends here and now
    aboard the crash, and a suspect (see `suspects`)            alone, or quarantined
    all others                                                  go on at once, the most important first
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from spillway.pool.journal import ChoiceRecord, Entry
from spillway.pool.policies import PoolPolicies
from spillway.pool.suspects import Judgement, strike
from spillway_wire.messages import Finish, Usage, Welcome
from spillway_wire.outcomes import FinishReason, Outcome


@dataclass(frozen=True, slots=True)
class RecoveryPlan:
    """What to do, in this order."""

    ended: tuple[tuple[Entry, ChoiceRecord, Finish], ...]
    """Choices that are complete."""
    quarantined: tuple[Entry, ...]
    given_up: tuple[Entry, ...]
    """They went on as often as the settings allow."""
    resumed: tuple[Entry, ...]
    """All others, the most important first; those to run alone are marked so."""


def plan_recovery(
    entries: Iterable[Entry],
    aboard: Collection[str],
    welcome: Welcome,
    policies: PoolPolicies,
    max_recoveries: int | None = None,
) -> RecoveryPlan:
    """Decide for the `entries` that an engine held when it died; `aboard` has the ids of those in its running step.

    `max_recoveries`: how often a request may go on after a death; None: without end.
    """
    ended: list[tuple[Entry, ChoiceRecord, Finish]] = []
    quarantined: list[Entry] = []
    given_up: list[Entry] = []
    resumed: list[Entry] = []
    for entry in sorted(entries, key=lambda entry: (entry.work.priority, entry.arrival)):
        complete = [(entry, choice, finish) for choice in entry.choices if (finish := end_of(entry, choice, welcome))]
        ended += complete
        if len(complete) == entry.num_open:
            continue
        judgement = strike(entry, policies) if entry.request_id in aboard else Judgement.RESUME
        if judgement is Judgement.QUARANTINE:
            quarantined.append(entry)
        elif max_recoveries is not None and entry.attempt > max_recoveries:
            given_up.append(entry)
        else:
            resumed.append(entry)
    return RecoveryPlan(tuple(ended), tuple(quarantined), tuple(given_up), tuple(resumed))


def end_of(entry: Entry, choice: ChoiceRecord, welcome: Welcome) -> Finish | None:
    """Return the end of a choice whose tokens say that it is complete, None if it goes on or has ended.

    The rule is the engine's: an ending token after the first `min_tokens`, else `max_tokens` or the context. A smaller
    limit of an engine's cache is not known here; a continuation sent for nothing is answered with the end.
    """
    params, tokens = entry.work.params, choice.token_ids
    if choice.finish is not None or not tokens:
        return None
    num_prompt, num_output = len(entry.work.prompt_token_ids), len(tokens)
    ending = {*params.stop_token_ids, *(() if params.ignore_eos else welcome.eos_token_ids)}
    in_context = welcome.capacity.max_model_len - num_prompt
    if tokens[-1] in ending and num_output > params.min_tokens:
        reason = FinishReason.STOP
    elif num_output >= (in_context if params.max_tokens is None else min(in_context, params.max_tokens)):
        reason = FinishReason.LENGTH
    else:
        return None
    usage = Usage(prompt_tokens=num_prompt, cached_tokens=choice.cached_tokens or 0, output_tokens=num_output)
    return Finish(outcome=Outcome.COMPLETED, reason=reason, usage=usage)
