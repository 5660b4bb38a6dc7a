"""Fair turns between the tenants of one band: a virtual token counter for each (VTC), and the least served goes next.

A tenant pays for what it gets, in tokens, divided by its weight: input when a request is sent, output as it comes. So
who asks ten times as much waits longer and gets no more, and who asks little is served at once::

    served   a ██████████████████░░  12 wait        next: b, whose counter is the smallest of those that wait
             b ███████████████        1 waits
             c ░░░░░                  idle: lifted to b's counter when it comes back, so that it has saved nothing up

A tenant whose line is empty for a moment while it has work under way is not idle: it is lifted, too, but keeps the lead
that this work will cost it. So who sends just as much as its share is not overtaken for every gap in its line.

Two tenants with a backlog differ by at most twice the larger of one request's input and what one batch puts out.
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

from spillway.admission.queue.line import Key, Line, Named

OUTPUT_COST: Final = 2.0
"""Of an output token, in input tokens."""
MAX_IDLE: Final = 4096
"""Tenants without work whose counters are kept; beyond that the least served ones are forgotten: they lose least."""
_MIN_WEIGHT: Final = 1e-6
_SWEEP: Final = 64
_MEMORY: Final = 16
"""Requests that a typical cost is taken over."""

T = TypeVar("T", bound=Named)


class Account(Generic[T]):
    """One tenant's."""

    __slots__ = (
        "charged", "line", "num_ended", "num_running", "rank", "served", "tenant_id", "typical", "weight",
    )  # fmt: skip

    def __init__(self, tenant_id: str) -> None:
        self.tenant_id = tenant_id
        self.weight = 1.0
        self.served = 0.0
        """Tokens, by weight: the virtual counter."""
        self.line: Line[T] = Line()
        self.num_running = 0
        """Requests that were sent and have not ended."""
        self.typical = 0.0
        """What one of its requests costs, of late, by weight."""
        self.num_ended = 0
        self.charged = 0.0
        """Since the last one ended."""
        self.rank: float | None = None
        """The counter under which it stands in the order of those that wait: never above `served`."""

    @property
    def idle(self) -> bool:
        """Whether it has nothing here at all."""
        return not len(self.line) and not self.num_running


class FairLine(Generic[T]):
    """What waits in one band. All costs are in input tokens, before weights."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account[T]] = {}
        self._order: list[tuple[float, str]] = []
        """A heap of (rank, tenant) with stale leftovers; a rank that is too low is corrected when it is met."""
        self._last: Account[T] | None = None
        """Who left the line last: what a newcomer is lifted to when nobody waits."""
        self._num_waiting = 0
        self._num_running = 0
        self._sweep_at = _SWEEP
        """How many accounts there may be before the idle ones are looked through."""

    def __len__(self) -> int:
        return self._num_waiting

    def __iter__(self) -> Iterator[T]:
        """All that wait, tenant by tenant."""
        for account in self._accounts.values():
            yield from account.line

    @property
    def num_accounts(self) -> int:
        """Tenants that are remembered."""
        return len(self._accounts)

    def served(self, tenant_id: str) -> float:
        """Return a tenant's counter; 0 if it has none."""
        account = self._accounts.get(tenant_id)
        return 0.0 if account is None else account.served

    def push(self, tenant_id: str, weight: float, key: Key, entry: T) -> None:
        """Let `entry` wait in its tenant's line, in the order of keys."""
        account = self._accounts.get(tenant_id)
        if account is None:
            self._forget_idle()
            account = self._accounts[tenant_id] = Account(tenant_id)
        account.weight = max(_MIN_WEIGHT, weight)
        if not len(account.line):
            account.served = max(account.served, self._least() - account.num_running * account.typical)
            self._enter(account)
        account.line.push(key, entry)
        self._num_waiting += 1

    def first(self) -> T | None:
        """Return whose turn it is: the first of the least served tenant that waits."""
        account = self._next()
        return None if account is None else account.line.first()

    def discard(self, tenant_id: str, entry: T) -> bool:
        """Drop an entry; whether it was there."""
        account = self._accounts.get(tenant_id)
        if account is None or not account.line.discard(entry):
            return False
        self._num_waiting -= 1
        if not len(account.line):
            account.rank = None
            self._last = account
        self._rest_if_idle()
        return True

    def take(self, tenant_id: str, entry: T, cost: float) -> None:
        """Note that an entry of its line is sent, and charge for its input; what comes of it ends with `end`."""
        account = self._accounts[tenant_id]
        account.num_running += 1
        self._num_running += 1
        self.discard(tenant_id, entry)
        self.charge(tenant_id, cost)

    def charge(self, tenant_id: str, cost: float) -> None:
        """Charge a tenant that has something running; less than 0 gives back."""
        account = self._accounts[tenant_id]
        account.served += cost / account.weight
        account.charged += cost / account.weight
        if account.rank is not None and account.served < account.rank:
            self._enter(account)

    def end(self, tenant_id: str) -> None:
        """Note that something that was sent has ended."""
        account = self._accounts[tenant_id]
        account.num_running -= 1
        account.num_ended += 1
        account.typical += (max(0.0, account.charged) - account.typical) / min(_MEMORY, account.num_ended)
        account.charged = 0.0
        self._num_running -= 1
        self._rest_if_idle()

    # ---- the order ----

    def _enter(self, account: Account[T]) -> None:
        account.rank = account.served
        heappush(self._order, (account.rank, account.tenant_id))
        if len(self._order) > 2 * len(self._accounts) + 64:
            ranked = ((each.rank, each.tenant_id) for each in self._accounts.values())
            self._order = [(rank, name) for rank, name in ranked if rank is not None]
            heapify(self._order)

    def _next(self) -> Account[T] | None:
        order = self._order
        while order:
            rank, name = order[0]
            account = self._accounts.get(name)
            if account is None or account.rank != rank:
                heappop(order)
            elif account.served > rank:
                heappop(order)
                self._enter(account)
                order = self._order
            else:
                return account
        return None

    def _least(self) -> float:
        """Return what a tenant that comes back is lifted to."""
        account = self._next() or self._last
        return 0.0 if account is None else account.served

    # ---- bounded memory ----

    def _rest_if_idle(self) -> None:
        """Forget everything when nothing waits or runs: who was served while nobody wanted more owes nothing."""
        if not self._num_waiting and not self._num_running:
            self._accounts.clear()
            self._order.clear()
            self._last = None

    def _forget_idle(self) -> None:
        """Forget tenants without work whose counters would be lifted anyway, once there are many of them."""
        accounts = self._accounts
        if len(accounts) < self._sweep_at:
            return
        least = self._least()
        idle = sorted((each for each in accounts.values() if each.idle), key=lambda each: each.served)
        excess = len(idle) - MAX_IDLE
        for number, account in enumerate(idle):
            if account.served > least and number >= excess:
                break
            del accounts[account.tenant_id]
        self._sweep_at = 2 * len(accounts) + _SWEEP
