"""The order of fresh work: bands first, tenants within a band, and a tenant's own order within that. Pure.

::

    system       ─▶ ┐
    interactive  ─▶ ┤ strict: a lower band waits for a higher one …       in a band, the least served tenant goes next
    default      ─▶ ┤                                                     (see `fairness`), and of its requests the
    bulk         ─▶ ┘ … down to its floor, a share of all tokens          first by priority, due time, arrival

A band that is passed over earns its floor's share of what the others are served. When that pays for its head's input,
its head goes first, and what comes of it is paid from there on. One whose oldest has waited very long may go on
credit, once: promotion is the floor spent in advance, so a backlog of old bulk work cannot turn the order over.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import merge
from typing import Final, Generic, Protocol, TypeVar

from spillway.admission.contract import FLOORS, Band
from spillway.admission.load.model_load import Waiting
from spillway.admission.queue.age import AgeControl, QueueAge
from spillway.admission.queue.fairness import OUTPUT_COST, FairLine
from spillway.admission.queue.line import Key
from spillway.pool.contract import Work

PROMOTE_S: Final[Mapping[Band, float]] = {Band.SYSTEM: 5.0, Band.INTERACTIVE: 5.0, Band.DEFAULT: 30.0, Band.BULK: 120.0}
"""After which the oldest of a band has waited too long."""


class Waiter(Protocol):
    """What waits: a request of the pool's journal, or a simulated one."""

    @property
    def request_id(self) -> str:
        """Unique in the line."""

    @property
    def arrival(self) -> int:
        """Rises with every request."""

    @property
    def queued_at(self) -> float:
        """Seconds of the monotonic clock."""

    @property
    def work(self) -> Work:
        """Whose it is, how important, until when, and how much."""


W = TypeVar("W", bound=Waiter)


def key_of(entry: Waiter) -> Key:
    """Return an entry's place among its tenant's own: what is due earlier goes first within a priority.

    Whatever has no due time, or a late one, counts as due when its band is promoted, so that nothing starves.
    """
    work = entry.work
    due = entry.queued_at + PROMOTE_S[work.band]
    for other in (work.ttft_due, work.deadline):
        if other is not None and other < due:
            due = other
    return work.priority, due, entry.arrival


@dataclass(slots=True)
class _Sent:
    """What was sent and has not ended."""

    band: Band
    tenant_id: str
    cost: float
    """Charged at the start."""
    on_floor: bool
    """Whether it went before a higher band's: then its band pays for it."""


class _BandLine(Generic[W]):
    """One band's entries: by tenant, by age, and what the band has earned."""

    def __init__(self, band: Band) -> None:
        self.share = FLOORS[band] / (1.0 - FLOORS[band])
        """What it earns of each token that another band is served."""
        self.patience_s = PROMOTE_S[band]
        self.tenants: FairLine[W] = FairLine()
        self.ages: OrderedDict[str, W] = OrderedDict()
        """As they were pushed, and so by age."""
        self.waiting: dict[str, Waiting] = {}
        self.credit = 0.0
        """Tokens earned and not spent; less than 0 while it owes."""
        self.control = AgeControl()

    def add(self, entry: W, sign: int) -> None:
        """Count an entry in, or out."""
        work = entry.work
        before = self.waiting.get(work.tenant_id, _NONE_WAITING)
        requests = before.requests + sign
        if requests:
            self.waiting[work.tenant_id] = Waiting(
                requests,
                before.sequences + sign * work.num_choices,
                before.prefill_tokens + sign * len(work.prompt_token_ids),
            )
        else:
            del self.waiting[work.tenant_id]

    def oldest(self) -> W | None:
        """Return the one that has waited longest."""
        return next(iter(self.ages.values()), None)

    def age_s(self, now: float) -> float:
        """Return how long the oldest has waited; 0 when nothing does."""
        oldest = self.oldest()
        return 0.0 if oldest is None else max(0.0, now - oldest.queued_at)

    def has_claim(self, head: W, now: float) -> bool:
        """Whether it may go before a higher band: it has earned it, or waited too long and owes nothing."""
        if self.share == 0.0:
            return False
        earned = self.credit >= len(head.work.prompt_token_ids)
        return earned or (self.credit >= 0.0 and self.age_s(now) >= self.patience_s)


_NONE_WAITING: Final = Waiting(0, 0, 0)


class FreshLine(Generic[W]):
    """All fresh work of one model."""

    def __init__(self) -> None:
        self._bands = {band: _BandLine[W](band) for band in Band}
        self._sent: dict[str, _Sent] = {}
        self.waiting: Mapping[Band, Mapping[str, Waiting]] = {b: line.waiting for b, line in self._bands.items()}
        """What waits by band and tenant: the account itself, which changes with the line."""

    def __len__(self) -> int:
        return sum(len(line.ages) for line in self._bands.values())

    def __iter__(self) -> Iterator[W]:
        """All of them, the oldest first."""
        return merge(*(line.ages.values() for line in self._bands.values()), key=lambda entry: entry.arrival)

    def __contains__(self, entry: W) -> bool:
        return entry.request_id in self._bands[entry.work.band].ages

    def push(self, entry: W) -> None:
        """Add an entry that is not in it."""
        work = entry.work
        line = self._bands[work.band]
        line.tenants.push(work.tenant_id, work.weight, key_of(entry), entry)
        line.ages[entry.request_id] = entry
        line.add(entry, 1)
        objective_s = None if work.ttft_due is None else work.ttft_due - entry.queued_at
        line.control.joined(entry.queued_at, objective_s)

    def first(self, now: float) -> W | None:
        """Return whose turn it is, None when empty."""
        head: W | None = None
        for line in self._bands.values():
            candidate = line.tenants.first()
            if candidate is None:
                continue
            if head is None:
                head = candidate
            elif line.has_claim(candidate, now):
                return candidate
        return head

    def oldest(self) -> W | None:
        """Return the one that has waited longest, None when empty."""
        heads = [head for line in self._bands.values() if (head := line.oldest()) is not None]
        return min(heads, key=lambda entry: entry.arrival, default=None)

    def discard(self, entry: W) -> bool:
        """Drop an entry that leaves without having been sent; whether it was there."""
        line = self._bands[entry.work.band]
        if not self._remove(line, entry):
            return False
        line.tenants.discard(entry.work.tenant_id, entry)
        line.control.dropped(len(line.ages))
        return True

    def take(self, entry: W, tokens: int, now: float) -> None:
        """Take out an entry that is sent, and charge for the `tokens` of input that have to be computed for it."""
        work = entry.work
        line = self._bands[work.band]
        on_floor = any(len(other.ages) for band, other in self._bands.items() if band < work.band)
        self._remove(line, entry)
        line.control.left(now, now - entry.queued_at, len(line.ages))
        line.tenants.take(work.tenant_id, entry, tokens)
        self._sent[entry.request_id] = _Sent(work.band, work.tenant_id, tokens, on_floor)
        if not on_floor:
            line.credit = 0.0  # nobody above it waits: it owes nobody, and is owed nothing
        self._serve(line, tokens, on_floor=on_floor)

    def charge(self, entry: W, tokens: int) -> None:
        """Charge for output tokens of an entry that was taken; one that was not, or has ended, costs nothing."""
        sent = self._sent.get(entry.request_id)
        if sent is not None:
            line = self._bands[sent.band]
            line.tenants.charge(sent.tenant_id, OUTPUT_COST * tokens)
            self._serve(line, OUTPUT_COST * tokens, on_floor=sent.on_floor)

    def end(self, entry: W, *, undone: bool = False) -> None:
        """Note that an entry that was taken has ended. `undone`: nothing was done of it, and it costs nothing."""
        sent = self._sent.pop(entry.request_id, None)
        if sent is None:
            return
        line = self._bands[sent.band]
        if undone:
            line.tenants.charge(sent.tenant_id, -sent.cost)
            if sent.on_floor:
                line.credit += sent.cost
        line.tenants.end(sent.tenant_id)

    def age(self, band: Band, now: float) -> QueueAge:
        """Return how old a band's queue is."""
        line = self._bands[band]
        return line.control.look(now, line.age_s(now))

    def set_prefill_s(self, seconds: float) -> None:
        """Note how long the engines' longest steps take: a queue cannot empty faster than they look at it."""
        for line in self._bands.values():
            line.control.prefill_s = seconds

    @property
    def num_sent(self) -> int:
        """Entries that were taken and have not ended."""
        return len(self._sent)

    def _remove(self, line: _BandLine[W], entry: W) -> bool:
        if line.ages.pop(entry.request_id, None) is None:
            return False
        line.add(entry, -1)
        if not line.ages:
            line.credit = min(0.0, line.credit)
        return True

    def _serve(self, served: _BandLine[W], cost: float, *, on_floor: bool) -> None:
        """Book what one band is served: the others that wait earn their share of it."""
        for line in self._bands.values():
            if line is not served and line.ages:
                line.credit += line.share * cost
        if on_floor:
            served.credit -= cost
