"""The order of fresh work: nothing lost or doubled, tenants served alike, floors kept, and no credit for idling."""

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from spillway.admission.contract import FLOORS, Band
from spillway.admission.load.model_load import Waiting
from spillway.admission.queue.bands import FreshLine
from spillway.admission.queue.fairness import OUTPUT_COST
from spillway.pool.contract import Work
from spillway.pool.journal import Entry
from spillway_wire.sampling import SamplingParams

SLOTS = 4
MAX_PROMPT = 60
MAX_OUTPUT = 30
LARGEST = MAX_PROMPT + OUTPUT_COST * MAX_OUTPUT
"""What one request costs at most."""

sizes = st.tuples(st.integers(1, MAX_PROMPT), st.integers(1, MAX_OUTPUT))


class Server:
    """Slots that take from a line what is first, and give each a token a step."""

    def __init__(self) -> None:
        self.line: FreshLine[Entry] = FreshLine()
        self.now = 0.0
        self.served: dict[str, float] = {}
        """Cost by tenant."""
        self.by_band: dict[Band, float] = dict.fromkeys(Band, 0.0)
        self._running: dict[str, tuple[Entry, int]] = {}
        self._arrivals = 0

    def ask(self, tenant: str, size: tuple[int, int], band: Band = Band.DEFAULT, **fields: Any) -> Entry:
        self._arrivals += 1
        work = Work(
            request_id=f"r{self._arrivals}",
            model="m",
            prompt_token_ids=[0] * size[0],
            params=SamplingParams(max_tokens=size[1]),
            tenant_id=tenant,
            band=band,
            **fields,
        )
        entry = Entry(work, self._arrivals, self.now, ())
        self.line.push(entry)
        return entry

    def step(self) -> None:
        self.now += 0.01
        while len(self._running) < SLOTS and (entry := self.line.first(self.now)) is not None:
            tokens = len(entry.work.prompt_token_ids)
            self.line.take(entry, tokens, self.now)
            self._running[entry.request_id] = entry, entry.work.params.max_tokens or 1
            self._count(entry, tokens)
        for name, (entry, left) in list(self._running.items()):
            self.line.charge(entry, 1)
            self._count(entry, OUTPUT_COST)
            self._running[name] = entry, left - 1
            if left == 1:
                del self._running[name]
                self.line.end(entry)

    def _count(self, entry: Entry, cost: float) -> None:
        self.served[entry.work.tenant_id] = self.served.get(entry.work.tenant_id, 0.0) + cost
        self.by_band[entry.work.band] += cost


BOUND = 2 * max(MAX_PROMPT, OUTPUT_COST * SLOTS * MAX_OUTPUT)
"""By how much two tenants with a backlog may differ: twice the larger of an input and a batch's output."""


def mix(seed: int, number: int) -> list[tuple[int, int]]:
    """Return sizes of requests."""
    draw = Random(seed)
    return [(draw.randint(1, MAX_PROMPT), draw.randint(1, MAX_OUTPUT)) for _ in range(number)]


def refill(server: Server, tenant: str, work: list[tuple[int, int]], band: Band = Band.DEFAULT, **fields: Any) -> None:
    """Keep a backlog that no step can empty."""
    waiting = server.line.waiting[band].get(tenant)
    if waiting is None or waiting.requests <= SLOTS:
        for size in work:
            server.ask(tenant, size, band, **fields)


seeds = st.integers(0, 2**32)
lengths = st.integers(SLOTS + 1, 20)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, length=lengths)
def test_two_tenants_with_a_backlog_are_served_alike(seed: int, length: int) -> None:
    server = Server()
    modest = mix(seed, length)
    refill(server, "modest", modest)
    for size in mix(seed + 1, 700):
        server.ask("greedy", size)
    for _ in range(400):
        refill(server, "modest", modest)
        server.step()
        assert abs(server.served.get("greedy", 0.0) - server.served.get("modest", 0.0)) <= BOUND
    assert "greedy" in server.line.waiting[Band.DEFAULT]


@settings(max_examples=30, deadline=None)
@given(weight=st.sampled_from([0.25, 0.5, 2.0, 4.0]), seed=seeds)
def test_shares_go_by_weight(weight: float, seed: int) -> None:
    server = Server()
    for _ in range(400):
        refill(server, "one", mix(seed, 20))
        refill(server, "other", mix(seed + 1, 20), weight=weight)
        server.step()
    assert abs(server.served["one"] - server.served["other"] / weight) <= BOUND * max(1.0, 1.0 / weight)


@settings(max_examples=40, deadline=None)
@given(idle=st.integers(1, 300), seed=seeds)
def test_who_idles_saves_nothing_up(idle: int, seed: int) -> None:
    server = Server()
    server.ask("sleeper", (1, 1))
    for _ in range(idle):
        refill(server, "busy", mix(seed, 20))
        server.step()
    before = dict(server.served)
    for _ in range(200):
        refill(server, "busy", mix(seed, 20))
        refill(server, "sleeper", mix(seed + 1, 20))
        server.step()
        gained = {name: server.served.get(name, 0.0) - before.get(name, 0.0) for name in ("busy", "sleeper")}
        assert gained["sleeper"] - gained["busy"] <= BOUND


@settings(max_examples=20, deadline=None)
@given(seed=seeds, crowd=st.sets(st.sampled_from([Band.INTERACTIVE, Band.DEFAULT, Band.BULK]), min_size=2))
def test_floors_hold_while_higher_bands_have_a_backlog_and_no_more_is_given(seed: int, crowd: set[Band]) -> None:
    server = Server()
    for _ in range(1_000):
        for band in sorted(crowd):
            refill(server, "t", mix(seed + band, 20), band)
        server.step()
    total = sum(server.by_band.values())
    for band in crowd - {min(crowd)}:
        assert server.by_band[band] >= FLOORS[band] * total - 2 * LARGEST
        assert server.by_band[band] <= FLOORS[band] * total + SLOTS * LARGEST


actions = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "leave", "step", "step", "wait"]),
        st.sampled_from(["", "a", "b", "c"]),
        st.sampled_from(list(Band)),
        sizes,
        st.integers(-2, 2),
        st.none() | st.floats(0.1, 200.0),
    ),
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@given(actions=actions)
def test_nothing_is_lost_or_doubled_and_the_account_is_right(actions: list[Any]) -> None:
    server = Server()
    waiting: dict[str, Entry] = {}
    sent: set[str] = set()
    take = server.line.take

    def taken(entry: Entry, tokens: int, now: float) -> None:
        assert waiting.pop(entry.request_id) is entry
        assert entry.request_id not in sent
        sent.add(entry.request_id)
        take(entry, tokens, now)

    server.line.take = taken  # type: ignore[method-assign]
    for action, tenant, band, size, priority, due in actions:
        if action == "ask":
            entry = server.ask(tenant, size, band, priority=priority, ttft_due=None if due is None else due)
            waiting[entry.request_id] = entry
        elif action == "leave" and waiting:
            name = sorted(waiting)[size[0] % len(waiting)]
            entry = waiting.pop(name)
            assert server.line.discard(entry)
            assert not server.line.discard(entry)
            assert entry not in server.line
        elif action == "step":
            server.step()
        else:
            server.now += size[0]
        assert [entry.request_id for entry in server.line] == list(waiting)
        assert len(server.line) == len(waiting)
        for each in Band:
            assert server.line.waiting[each] == account(waiting, each)
    for _ in range(len(waiting) * MAX_OUTPUT + MAX_OUTPUT):
        server.step()
    assert not waiting
    assert server.line.first(server.now) is None
    assert server.line.num_sent == 0


def account(waiting: dict[str, Entry], band: Band) -> dict[str, Waiting]:
    found: dict[str, Waiting] = {}
    for entry in waiting.values():
        if entry.work.band is band:
            old = found.get(entry.work.tenant_id, Waiting(0, 0, 0))
            tokens = len(entry.work.prompt_token_ids)
            found[entry.work.tenant_id] = Waiting(old.requests + 1, old.sequences + 1, old.prefill_tokens + tokens)
    return found
