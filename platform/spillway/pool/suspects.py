"""Suspects: which requests may have killed an engine, and what follows. Innocents must not pay, nor the pool die.

The progress page names what was aboard the running step of a crash. What is aboard again, with no new token since, is
a suspect::

    aboard 1 crash                        resumed with all the others, at once
    aboard 2, no new token between        resumed alone: its steps hold nothing else, so the next crash is its own
    alone in 2 crashes, no token between  quarantined: this request and any like it fail, for a while

A new token clears a suspect: what killed the engine then, it was not the step that this request had survived. Crashes
between steps accuse nobody.
"""

from collections import OrderedDict
from enum import Enum, auto
from hashlib import sha256

import msgspec

from spillway.pool import refusals
from spillway.pool.contract import Refused, Work
from spillway.pool.journal import Entry
from spillway.pool.policies import PoolPolicies


class Judgement(Enum):
    """What becomes of a request that was aboard a crash."""

    RESUME = auto()
    RESUME_ALONE = auto()
    QUARANTINE = auto()


def strike(entry: Entry, policies: PoolPolicies) -> Judgement:
    """Count a crash with `entry` aboard, and judge it."""
    num_tokens = entry.num_tokens
    if num_tokens != entry.struck_at:
        entry.strikes, entry.struck_at = 0, num_tokens
        entry.alone = False
    entry.strikes += 1
    if entry.strikes >= policies.strikes_until_alone + policies.crashes_alone:
        return Judgement.QUARANTINE
    if entry.strikes >= policies.strikes_until_alone:
        entry.alone = True
        return Judgement.RESUME_ALONE
    return Judgement.RESUME


def fingerprint(work: Work) -> bytes:
    """Return what makes a request the same one when it is sent again: model, prompt and parameters.

    Without the seed, which is drawn anew for a request that names none.
    """
    params = msgspec.structs.replace(work.params, seed=0)
    return sha256(msgspec.msgpack.encode((work.model, work.prompt_token_ids, params))).digest()


class Quarantine:
    """Fingerprints of what killed engines alone, each until its time is over. Bounded.

    It lives in the memory of one gateway: another one, or a successor, finds out for itself, at the price of as many
    crashes. That bounds the harm without a shared store that would have to be trusted in the midst of a crash.
    """

    def __init__(self, policies: PoolPolicies) -> None:
        self._keep_s = policies.quarantine_s
        self._most = policies.max_quarantined
        self._marks: OrderedDict[bytes, tuple[float, int]] = OrderedDict()
        """Until when, and for how many crashes; the oldest first."""

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, work: Work, crashes: int, now: float) -> Refused:
        """Keep everything like `work` out; return how it ends itself."""
        mark = fingerprint(work)
        self._marks[mark] = now + self._keep_s, crashes
        self._marks.move_to_end(mark)
        while len(self._marks) > self._most:
            self._marks.popitem(last=False)
        return refusals.quarantined(self._keep_s, self._keep_s, crashes)

    def check(self, work: Work, now: float) -> Refused | None:
        """Return why `work` is kept out; None if it is welcome."""
        while self._marks and next(iter(self._marks.values()))[0] <= now:
            self._marks.popitem(last=False)
        if not self._marks:
            return None  # the usual case: no need to compute a fingerprint
        found = self._marks.get(fingerprint(work))
        if found is None:
            return None
        until, crashes = found
        return refusals.quarantined(until - now, self._keep_s, crashes)
