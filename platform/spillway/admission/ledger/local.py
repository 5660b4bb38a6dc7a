"""Quotas in this process: the twin of the scripts, deciding alike on the same history. Pure: the clock is passed in.

It is asked while Redis is away, with a share of each limit (`share`). Times in ms since 1970.
"""

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from spillway.admission.contract import Claim, LimitName, Limits
from spillway.admission.ledger.accounts import DAY_MS, EPSILON, MINUTE_MS, NONE, Account, or_none
from spillway.admission.ledger.answers import GRANTED, Word

_REAPED_AT_ONCE = 1024


@dataclass(slots=True)
class _Record:
    """A claim; on no account if it ended before it was asked for."""

    reserved: int
    accounts: tuple[str, ...]
    used: int = 0


@dataclass(slots=True)
class _Books:
    """All of one tenant."""

    accounts: dict[str, Account] = field(default_factory=dict)
    claims: dict[str, _Record] = field(default_factory=dict)
    leases: dict[str, float] = field(default_factory=dict)
    due: list[tuple[float, str]] = field(default_factory=list)
    """A heap of (end of lease, request); entries that `leases` does not confirm are old."""
    latest: float = 0.0
    """No lease ends after this."""

    def lease(self, request_id: str, until: float) -> None:
        self.leases[request_id] = until
        self.latest = max(self.latest, until)
        if len(self.due) > 64 + 4 * len(self.leases):  # many old entries: renewals of long streams
            self.due = [(end, request) for request, end in self.leases.items()]
            heapq.heapify(self.due)
        else:
            heapq.heappush(self.due, (until, request_id))

    def dead(self, now: float, lease_ms: float) -> list[str]:
        """Return requests whose lease is over, the oldest first, and shorten what is longer than a lease."""
        if self.latest > now + lease_ms + 1:
            self.latest = now + lease_ms
            for request, until in list(self.leases.items()):
                if until > now + lease_ms + 1:
                    self.lease(request, now + lease_ms)
        found: list[str] = []
        while self.due and self.due[0][0] <= now and len(found) < _REAPED_AT_ONCE:
            until, request = heapq.heappop(self.due)
            if self.leases.get(request) == until:
                found.append(request)
                del self.leases[request]
        return found


@dataclass(slots=True)
class _Worst:
    """The refusal that is told, of several: one for ever, else the longest to wait, else one that nobody can tell."""

    rank: float = -1.0
    words: Sequence[Word] = GRANTED

    def refuse(self, rank: float, name: LimitName, scope: int, limit: int, measured: float) -> None:
        if rank <= self.rank:
            return
        self.rank = rank
        wait = repr(rank) if 0 < rank < math.inf else ""
        self.words = (name.value, str(scope), str(limit), repr(measured), wait)


class LocalQuotas:
    """Accounts of all tenants that were asked for."""

    def __init__(self, lease_ms: float) -> None:
        self._lease_ms = lease_ms
        self._books: dict[str, _Books] = {}

    def __len__(self) -> int:
        """Count the claims that are held."""
        return sum(len(books.leases) for books in self._books.values())

    def __contains__(self, request: tuple[str, str]) -> bool:
        """Tell whether the claim (tenant, request) is held."""
        books = self._books.get(request[0])
        return books is not None and request[1] in books.claims

    def acquire(self, claim: Claim, now: float, *, forced: bool = False) -> Sequence[Word]:
        """Reserve all that `claim` wants, or nothing; return an answer as the script does.

        `forced`: without looking at the limits, for what is being served already.
        """
        books = self._books.setdefault(claim.tenant_id, _Books())
        working = self._reap(books, now)
        if not books.leases:
            for scope in claim.scopes:
                account = self._account(books, working, scope.account, now)
                account.held, account.leases = 0.0, 0
        again = claim.request_id in books.claims
        worst = _Worst()
        for number, scope in enumerate(claim.scopes, 1):
            account = self._account(books, working, scope.account, now)
            account.take_limits(scope.limits, scope.used_today)
            if not again and not forced:
                _examine(account, scope.limits, claim.tokens, scope=number, now=now, worst=worst)
        if not worst.words[0]:
            if not again:
                for scope in claim.scopes:
                    working[scope.account].reserve(claim.tokens, forced=forced)
                    books.accounts[scope.account] = working[scope.account]
                accounts = tuple(scope.account for scope in claim.scopes)
                books.claims[claim.request_id] = _Record(claim.tokens, accounts)
            books.lease(claim.request_id, now + self._lease_ms)
        levels = (working[scope.account] for scope in claim.scopes)
        return (*worst.words, *(repr(level) for account in levels for level in (account.requests, account.tokens)))

    def renew(self, tenant_id: str, used: Iterable[tuple[str, int]], now: float) -> list[str]:
        """Lengthen leases and note what was used; return the requests that are not held here."""
        books = self._books.get(tenant_id, _Books())
        lost: list[str] = []
        for request_id, tokens in used:
            record = books.claims.get(request_id)
            if record is None or not record.accounts:
                lost.append(request_id)
            else:
                record.used = tokens
                books.lease(request_id, now + self._lease_ms)
        return lost

    def settle(
        self,
        tenant_id: str,
        request_id: str,
        actual: int,
        now: float,
        *,
        refund_request: bool = False,
        is_late: bool = False,
    ) -> bool:
        """End a claim with what it used; return whether it was held. `is_late`: if not, it is never to be charged."""
        books = self._books.setdefault(tenant_id, _Books())
        record = books.claims.get(request_id)
        if record is None:
            if is_late:
                books.claims[request_id] = _Record(0, ())
                books.lease(request_id, now + self._lease_ms)
            return False
        if not record.accounts:
            return False
        del books.claims[request_id]
        books.leases.pop(request_id, None)
        self._release(books, {}, record, actual, now, refund_request=refund_request)
        return True

    def reap(self, tenant_id: str, now: float) -> tuple[int, int]:
        """End what nobody renews; return how many claims ended, and how many are left."""
        books = self._books.get(tenant_id)
        if books is None:
            return 0, 0
        before = len(books.leases)
        self._reap(books, now)
        return before - len(books.leases), len(books.leases)

    def forget(self, now: float) -> None:
        """Drop the tenants of which there is nothing to know any more."""
        for tenant_id, books in list(self._books.items()):
            self._reap(books, now)
            if books.leases:
                continue
            for account in books.accounts.values():
                account.advance(now)
            if all(account.is_idle and not account.used for account in books.accounts.values()):
                del self._books[tenant_id]

    def _reap(self, books: _Books, now: float) -> dict[str, Account]:
        working: dict[str, Account] = {}
        for request_id in books.dead(now, self._lease_ms):
            record = books.claims.pop(request_id)
            self._release(books, working, record, record.used, now)
        return working

    def _release(
        self,
        books: _Books,
        working: dict[str, Account],
        record: _Record,
        actual: int,
        now: float,
        *,
        refund_request: bool = False,
    ) -> None:
        for name in record.accounts:
            account = self._account(books, working, name, now)
            account.release(record.reserved, actual, refund_request=refund_request)
            books.accounts[name] = account

    def _account(self, books: _Books, working: dict[str, Account], name: str, now: float) -> Account:
        """Return the copy of an account that this call works on; it counts only when it is put back."""
        account = working.get(name)
        if account is None:
            kept = books.accounts.get(name)
            account = Account.fresh(now) if kept is None else replace(kept)
            if kept is not None and account.advance(now):
                books.accounts[name] = account
            working[name] = account
        return account


def _examine(a: Account, limits: Limits, cost: int, *, scope: int, now: float, worst: _Worst) -> None:
    """Look at every limit of one scope. The order is that of the script, and with it which of two is told."""
    burst = limits.burst if limits.burst is not None else 0
    concurrent, per_day = or_none(limits.max_concurrent), or_none(limits.tokens_per_day)
    if a.rpm == 0:
        worst.refuse(math.inf, LimitName.REQUESTS, scope, 0, 1)
    excess = a.requests + 1 - burst
    if a.rpm > 0 and excess > EPSILON:
        wait = excess * MINUTE_MS / a.rpm
        worst.refuse(wait, LimitName.REQUESTS, scope, a.rpm, a.rpm + math.ceil(excess - EPSILON))
    if a.tpm != NONE and cost > a.tpm:
        worst.refuse(math.inf, LimitName.REQUEST_SIZE, scope, a.tpm, cost)
    elif a.tpm != NONE and a.tokens + cost > a.tpm + EPSILON:
        wait = (a.tokens + cost - a.tpm) * MINUTE_MS / a.tpm if a.tpm else math.inf
        worst.refuse(wait, LimitName.TOKENS, scope, a.tpm, math.ceil(a.tokens + cost - EPSILON))
    if concurrent != NONE and a.leases + 1 > concurrent:
        worst.refuse(0, LimitName.CONCURRENT, scope, concurrent, a.leases + 1)
    if per_day != NONE and cost > per_day:
        worst.refuse(math.inf, LimitName.DAY, scope, per_day, cost)
    elif per_day != NONE and a.used + a.held + cost > per_day:
        wait = (a.day + 1) * DAY_MS - now
        worst.refuse(wait, LimitName.DAY, scope, per_day, a.used + a.held + cost)
