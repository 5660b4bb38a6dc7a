"""The other promises of admission: who comes first, who shares, when to come back, and what a burst may not do.

Each drill takes a bench and its capacity, and returns rows to show and promises.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from spillway.bench.overload.judging import Fate, judge
from spillway.bench.overload.levels import Level, level_of
from spillway.bench.overload.measuring import BULK, Bench
from spillway.bench.overload.plan import Record, Run
from spillway.bench.overload.promises import Promise
from spillway.bench.overload.schedule import Phase, arrivals, merged
from spillway.bench.overload.work import NOBODY, Sender, with_key

OVERLOAD: Final = 4.0
PRIORITY: Final = "interactive"
FIRST: Final = Sender(group=PRIORITY, fields={"service_tier": "priority"})
LAST: Final = Sender(group=BULK, fields={"service_tier": "flex"})
PRIORITY_GOOD: Final = 0.99
BULK_FLOOR: Final = 0.045
"""Of the tokens served; a tenth below what is configured, as no request can be served by halves."""
FAIR: Final = 0.9
TENANTS: Final = ("modest", "greedy")
BURST_S: Final = 10.0
"""How long clients are refused before calm."""
COME_BACK: Final = 0.8
BURST_TIMES: Final = 10


@dataclass(frozen=True, slots=True)
class Found:
    """What a drill found."""

    rows: Sequence[Mapping[str, Any]]
    promises: Sequence[Promise]
    levels: Sequence[Level] = field(default_factory=tuple)


def mixed(bench: Bench, name: str, rates: Sequence[tuple[Sender, float]], seconds: float) -> Run:
    """Have several senders ask, each at a rate of its own."""
    senders = [sender for sender, _ in rates]
    schedules = [
        arrivals([Phase(rate, seconds)], bench.seed_of(f"{name} {place}")) for place, (_, rate) in enumerate(rates)
    ]
    return bench.open(name, [(due, senders[place]) for due, place in merged(schedules)])


def by_group(run: Run) -> dict[str, Run]:
    """Return a run's records by group."""
    groups = sorted({record.group for record in run.records})
    return {
        group: Run([each for each in run.records if each.group == group], run.seconds, run.cpu_share, run.scheduling)
        for group in groups
    }


def served_tokens(records: Sequence[Record], begin_s: float, end_s: float) -> float:
    """Return the tokens served in a stretch of time: a prompt's with its first token, an answer's as they came."""
    total = 0.0
    for record in records:
        events = [at for at in record.events_s if begin_s <= at < end_s]
        if events:
            total += record.output_tokens * len(events) / len(record.events_s)
            total += record.prompt_tokens if begin_s <= record.events_s[0] < end_s else 0
    return total


def priorities(bench: Bench, capacity: float, seconds: float) -> Found:
    """Let a tenth of four times too much be interactive; then so much that bulk would get nothing without its floor."""
    levels: list[Level] = []
    promises: list[Promise] = []
    for share in (0.1, 0.5):
        rates = [(FIRST, share * OVERLOAD * capacity), (LAST, (1 - share) * OVERLOAD * capacity)]
        groups = by_group(mixed(bench, f"priorities {share}", rates, seconds))
        found = {
            group: level_of(f"{group}, {share:.0%} interactive", run, bench.objective_of, seconds)
            for group, run in groups.items()
        }
        levels += found.values()
        tokens = {group: served_tokens(run.records, seconds / 4, seconds) for group, run in groups.items()}
        if share == 0.1:
            promises.append(
                Promise(
                    what="a tenth is interactive, at 4x: good share of that tenth",
                    found=found[PRIORITY].good_share,
                    aim=PRIORITY_GOOD,
                    unit="%",
                    at_least=True,
                )
            )
        else:
            promises.append(
                Promise(
                    what="half is interactive, at 4x: bulk's share of the tokens served",
                    found=tokens[BULK] / max(1.0, sum(tokens.values())),
                    aim=BULK_FLOOR,
                    unit="%",
                    at_least=True,
                )
            )
    return Found([], promises, levels)


def fairness(bench: Bench, keys: Mapping[str, str], capacity: float, seconds: float) -> Found:
    """Let one tenant ask for all there is, and another for ten times as much; `keys` are theirs."""
    modest, greedy = TENANTS
    senders = {name: with_key(name, keys[name]) for name in TENANTS}
    groups = by_group(
        mixed(bench, "fairness", [(senders[modest], capacity), (senders[greedy], 10 * capacity)], seconds)
    )
    tokens = {name: served_tokens(groups[name].records, seconds / 4, seconds) for name in TENANTS}
    levels = [level_of(name, groups[name], bench.objective_of, seconds) for name in TENANTS]
    promise = Promise(
        what="one asks ten times as much: tokens served to the one with less, of the other's",
        found=min(tokens.values()) / max(1.0, *tokens.values()),
        aim=FAIR,
        unit="%",
        at_least=True,
    )
    rows = [{"tenant": name, "tokens served": round(tokens[name])} for name in TENANTS]
    return Found(rows, [promise], levels)


def retries(bench: Bench, capacity: float, seconds: float) -> Found:
    """Ask too much for ten seconds, then half; clients who are told when to come back do so, twice at most."""
    phases = [Phase(OVERLOAD * capacity, BURST_S), Phase(0.5 * capacity, seconds)]
    due = [(at, NOBODY) for at in arrivals(phases, bench.seed_of("retries"))]
    run = bench.open("retries", due, retries=2)
    first = {each.number: each for each in run.records if each.attempt == 0 and each.due_s < BURST_S}
    refused = {number for number, each in first.items() if each.is_refused}
    second = {each.number: each for each in run.records if each.attempt == 1 and each.number in refused}
    let_in = sum(each.status == 200 for each in second.values())
    row = {
        "asked in the burst": len(first),
        "refused": len(refused),
        "came back": len(second),
        "got in": let_in,
        "good": sum(judge(each, bench.objective_of(each)) is Fate.GOOD for each in second.values()),
        "told not to": sum(first[number].should_retry is False for number in refused),
        "last came back after, s": max((each.due_s for each in second.values()), default=0.0),
    }
    promise = Promise(
        what="refused, and came back when told: let in at the second try",
        found=let_in / len(second) if second else None,
        aim=COME_BACK,
        unit="%",
        at_least=True,
    )
    return Found([row], [promise])


def burst(bench: Bench, bound: int) -> Found:
    """Ask ten times what the queue holds, at once."""
    count = BURST_TIMES * bound
    run = bench.open("burst", [(0.0, NOBODY)] * count, patience_s=max(60.0, bench.patience_s))
    level = level_of(f"burst of {count}", run, bench.objective_of, 1.0)
    refused = level.refusals.get("all")
    broken = level.failures + level.fates[Fate.UNFINISHED]
    promises = [
        Promise(what=f"a burst of {count}, ten times the queue: accepted and then failed", found=broken, aim=0),
        Promise(
            what=f"a burst of {count}: refusals that say when to come back, or not to",
            found=1.0 if refused is None else refused.with_retry_after / refused.count,
            aim=1.0,
            unit="%",
            at_least=True,
        ),
    ]
    return Found([], promises, [level])
