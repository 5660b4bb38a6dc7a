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

from spillway.pool.contract import Work
from spillway.pool.journal import Entry
from spillway.pool.policies import PoolPolicies


class Verdict(Enum):
    """What becomes of a request that was aboard a crash."""

    RESUME = auto()
    RESUME_ALONE = auto()
    QUARANTINE = auto()


def strike(entry: Entry, policies: PoolPolicies) -> Verdict:
    """Count a crash with `entry` aboard, and judge it."""
    num_tokens = entry.num_tokens
    if num_tokens != entry.struck_at:
        entry.strikes, entry.struck_at = 0, num_tokens
        entry.alone = False
    entry.strikes += 1
    if entry.strikes >= policies.strikes_until_alone + policies.crashes_alone:
        return Verdict.QUARANTINE
    if entry.strikes >= policies.strikes_until_alone:
        entry.alone = True
        return Verdict.RESUME_ALONE
    return Verdict.RESUME


def fingerprint(work: Work) -> bytes:
    """Return what makes a request the same one when it is sent again: model, prompt and parameters.

    Without the seed, which is drawn anew for a request that names none.
    """
    params = msgspec.structs.replace(work.params, seed=0)
    return sha256(msgspec.msgpack.encode((work.model, work.prompt_token_ids, params))).digest()


class Quarantine:
    """Fingerprints of what killed engines alone, each until its time is over. Bounded."""

    def __init__(self, policies: PoolPolicies) -> None:
        self._keep_s = policies.quarantine_s
        self._most = policies.max_quarantined
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, work: Work, now: float) -> None:
        """Keep everything like `work` out."""
        mark = fingerprint(work)
        self._until[mark] = now + self._keep_s
        self._until.move_to_end(mark)
        while len(self._until) > self._most:
            self._until.popitem(last=False)

    def remaining_s(self, work: Work, now: float) -> float | None:
        """Return how much longer anything like `work` is kept out; None if it is welcome."""
        while self._until and next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)
        if not self._until:
            return None  # the usual case: no need to compute a fingerprint
        until = self._until.get(fingerprint(work))
        return None if until is None else until - now
