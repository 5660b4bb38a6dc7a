"""Credits: how many requests each client may send, so that clients share an engine fairly and none is buried in it.

An engine wants a window of work in hand: a full batch and a little to refill it from. The rest waits with the clients,
who know its importance and can still send it elsewhere. Each tells how much that is (`Backlog`), and whatever the
window has free is granted in proportion::

    window ── in hand ──────────────┬─ granted, unspent ─┬─ free ─┐      free goes to backlogs by their size, then to
           0                        │                    │        │      clients that hold less than the standing credit
                                                                         (which lies outside the window)

Shares are rounded by largest remainder, and what rounding took is owed to the next round (at most one credit): so the
smallest backlog gets its turn, however large the others are.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from spillway_engine.memory.blocks import IntegrityError
from spillway_wire.messages import STANDING_CREDITS


def window_of(max_num_seqs: int) -> int:
    """Return how many requests an engine wants in hand: a full batch, and enough to refill it without a round trip."""
    return max_num_seqs + max(4, max_num_seqs // 4)


@dataclass(slots=True)
class _Account:
    total: int
    """Granted in all."""
    spent: int = 0
    returned: int = 0
    waiting: int = 0
    owed: float = 0.0
    """What rounding has taken from it (or given it, if negative) in earlier rounds: -1 to 1."""

    @property
    def unspent(self) -> int:
        """Never below zero."""
        return self.total - self.spent - self.returned

    @property
    def wants(self) -> int:
        return max(0, self.waiting - self.unspent)


class Credits:
    """Who may send how much. No I/O: `grant` returns the new totals, and its caller sends them."""

    def __init__(self, window: int, standing: int = STANDING_CREDITS) -> None:
        self.window = window
        self.standing = standing
        self._accounts: dict[str, _Account] = {}

    def join(self, client_id: str) -> int:
        """Open a client's account with the standing credit; return its total."""
        self._accounts[client_id] = _Account(self.standing)
        return self.standing

    def leave(self, client_id: str) -> None:
        """Close an account: what it held is free again. Unknown ones are ignored."""
        self._accounts.pop(client_id, None)

    def spend(self, client_id: str) -> None:
        """Book a first attempt that came from `client_id`."""
        account = self._accounts[client_id]
        account.spent += 1
        account.total = max(account.total, account.spent + account.returned)  # one that does without owes nothing
        account.waiting = max(0, account.waiting - 1)

    def hear(self, client_id: str, waiting: int, returned: int) -> None:
        """Book a client's backlog and what it has given back in all. Absurd numbers count as the nearest sane ones."""
        account = self._accounts[client_id]
        account.waiting = max(0, waiting)
        account.returned = max(account.returned, min(returned, account.total - account.spent))

    def total(self, client_id: str) -> int:
        """Return what a client has been granted in all; 0 if it has no account."""
        account = self._accounts.get(client_id)
        return 0 if account is None else account.total

    @property
    def unspent(self) -> int:
        """Credits that are out and may be used at any moment."""
        return sum(account.unspent for account in self._accounts.values())

    def free(self, in_hand: int) -> int:
        """Return how much of the window is neither in hand nor promised beyond the standing credits."""
        promised = sum(max(0, account.unspent - self.standing) for account in self._accounts.values())
        return max(0, self.window - in_hand - promised)

    def grant(self, in_hand: int) -> dict[str, int]:
        """Hand out what is free, with `in_hand` requests in the engine; return the new totals of those who got some."""
        free = self.free(in_hand)
        if not free:
            return {}
        before = {name: account.total for name, account in self._accounts.items()}
        wants = {name: account.wants for name, account in self._accounts.items() if account.wants}
        for name, number in self._shares(free, wants).items():
            self._accounts[name].total += number
            free -= number
        for account in sorted(self._accounts.values(), key=lambda account: account.unspent):
            number = min(free, max(0, self.standing - account.unspent))
            account.total += number
            free -= number
        return {name: account.total for name, account in self._accounts.items() if account.total != before[name]}

    def _shares(self, free: int, wants: Mapping[str, int]) -> dict[str, int]:
        """Divide `free` in proportion to `wants`; nobody gets more than it wants, and nothing is left over."""
        wanted = sum(wants.values())
        for name, account in self._accounts.items():
            if name not in wants:
                account.owed = 0.0
        if wanted <= free:
            return dict(wants)
        owed = {name: self._accounts[name].owed + free * want / wanted for name, want in wants.items()}
        shares = {name: min(wants[name], max(0, int(owed[name]))) for name in wants}
        rest = free - sum(shares.values())
        while rest:
            step = 1 if rest > 0 else -1
            able = [name for name in wants if 0 <= shares[name] + step <= wants[name]]
            chosen = max(able, key=lambda name: step * (owed[name] - shares[name]))
            shares[chosen] += step
            rest -= step
        for name in wants:
            self._accounts[name].owed = min(1.0, max(-1.0, owed[name] - shares[name]))
        return shares

    def check_integrity(self) -> None:
        """Raise `IntegrityError` if an account does not add up."""
        for name, account in self._accounts.items():
            if min(account.unspent, account.returned, account.waiting) < 0 or account.total < self.standing:
                raise IntegrityError(f"the credits of {name} do not add up: {account}")
