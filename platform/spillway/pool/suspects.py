"""Suspects: which requests may have killed an engine, and what follows. Innocents must not pay, nor the pool die.

The progress page names what was aboard the running step of a crash. What is aboard again, with no new token since, is
a suspect::

    aboard 1 crash                        resumed with all the others, at once
    aboard 2, no new token between        resumed alone: its steps hold nothing else, so the next crash is its own
    alone in 2 crashes, no token between  quarantined: this request and any like it fail for a while, at every gateway

A new token clears a suspect: what killed the engine then, it was not the step that this request had survived. Crashes
between steps accuse nobody.
"""

from collections.abc import Callable
from enum import Enum, auto
from hashlib import sha256

import msgspec

from spillway.pool import refusals
from spillway.pool.contract import Refused, Work
from spillway.pool.journal import Entry
from spillway.pool.policies import PoolPolicies
from spillway_wire.plane import Quarantined
from spillway_wire.quarantine import QuarantineBook


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
    """Return what makes a request the same one when it is sent again, to any gateway: model, prompt and parameters.

    Without the seed, which is drawn anew for a request that names none, and whatever order its biases are written in.
    """
    biases = dict(sorted(work.params.logit_bias.items()))
    params = msgspec.structs.replace(work.params, seed=0, logit_bias=biases)
    return sha256(msgspec.msgpack.encode((work.model, work.prompt_token_ids, params))).digest()


class Quarantine:
    """What killed engines alone, each until its time is over: what this pool found out, and what it heard from others.

    It is in memory. What this pool finds out is told to the supervisor by whoever calls `add`, which has it told to
    every other gateway, and to successors; they `hear` it, and refuse what cost engines only once. Times in seconds
    of the machine's monotonic clock, which all of them share.
    """

    def __init__(self, policies: PoolPolicies, keep_s: Callable[[], float]) -> None:
        """`keep_s` is asked for each time: it may change."""
        self._keep_s = keep_s
        self._book = QuarantineBook(policies.max_quarantined)

    def __len__(self) -> int:
        return len(self._book)

    def add(self, work: Work, crashes: int, now: float) -> Quarantined:
        """Keep everything like `work` out; return what the others are to hear."""
        entry = Quarantined(fingerprint=fingerprint(work), until_ns=_ns(now + self._keep_s()), crashes=crashes)
        self._book.add(entry)
        return entry

    def hear(self, entry: Quarantined) -> None:
        """Keep out what another gateway found out. Hearing it again, or late, changes nothing."""
        self._book.add(entry)

    def check(self, work: Work, now: float) -> Refused | None:
        """Return why `work` is kept out; None if it is welcome."""
        self._book.expire(_ns(now))
        if not len(self._book):
            return None  # the usual case: no need to compute a fingerprint
        entry = self._book.get(fingerprint(work))
        return None if entry is None else self.refusal(entry, now)

    def refusal(self, entry: Quarantined, now: float) -> Refused:
        """Return how a request ends that is kept out."""
        return refusals.quarantined(entry.until_ns / 1e9 - now, self._keep_s(), entry.crashes)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
