"""The figures of one run: what was asked, what was good, what was refused and how fast. Pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spillway.bench.figures import quantile
from spillway.bench.overload.judging import Fate, ObjectiveOf, judge
from spillway.bench.overload.plan import Record, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """Those of one status and code."""

    count: int
    p50_ms: float
    """From when it was sent until its answer was whole."""
    p99_ms: float
    with_retry_after: int
    """How many were told when to come back, or that coming back is no use."""

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Refusals":
        """Describe refusals, of which there must be at least one."""
        times_ms = [1e3 * (record.ended_s - record.sent_s) for record in records]
        told = sum(record.retry_after_s is not None or record.should_retry is False for record in records)
        return cls(
            count=len(records), p50_ms=quantile(times_ms, 0.5), p99_ms=quantile(times_ms, 0.99), with_retry_after=told
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One rate, held for a while. Everything that was asked is in some figure, and in exactly one of `fates`."""

    name: str
    seconds: float
    asked: int
    fates: Mapping[str, int]
    goodput: float
    """Good answers a second."""
    good_tokens_per_s: float
    """Output tokens of good answers."""
    ttft_p50_s: float | None
    """Of all that were not refused and did not fail; of one that waits to the end, what it has waited."""
    ttft_p99_s: float | None
    ttft_p99_of_objective: float | None
    """Each first token as a share of its own objective."""
    tpot_p99_ms: float | None
    refusals: Mapping[str, Refusals]
    """By status and code, and `all` of them."""
    problems: Mapping[str, int]
    """What went wrong, in words, the commonest first."""
    lateness_p99_ms: float
    """Of the generator itself."""
    generator_cpu: float
    """Share of a core."""
    scheduling: str
    """How its process was scheduled."""

    @property
    def offered(self) -> float:
        """Requests a second."""
        return self.asked / self.seconds

    @property
    def good_share(self) -> float:
        """Of all that was asked."""
        return self.fates[Fate.GOOD] / max(1, self.asked)

    @property
    def failures(self) -> int:
        """Accepted and then failed, or answered wrongly."""
        return self.fates[Fate.FAILED] + self.fates[Fate.WRONG]

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {**asdict(self), "offered": self.offered, "good_share": self.good_share}


def level_of(name: str, run: Run, objective_of: ObjectiveOf, seconds: float) -> Level:
    """Describe a run whose requests came within `seconds`."""
    fates = [judge(record, objective_of(record)) for record in run.records]
    by_fate = Counter(fates)
    good = [record for record, fate in zip(run.records, fates, strict=True) if fate is Fate.GOOD]
    refused = [record for record, fate in zip(run.records, fates, strict=True) if fate is Fate.REFUSED]
    waited = [record for record in run.records if record.events_s or (record.gave_up and not record.is_refused)]
    return Level(
        name=name,
        seconds=seconds,
        asked=len(run.records),
        fates={fate.value: by_fate[fate] for fate in Fate},
        goodput=len(good) / seconds,
        good_tokens_per_s=sum(record.output_tokens for record in good) / seconds,
        ttft_p50_s=_quantile([record.ttft_s for record in waited], 0.5),
        ttft_p99_s=_quantile([record.ttft_s for record in waited], 0.99),
        ttft_p99_of_objective=_quantile([record.ttft_s / objective_of(record).ttft_s for record in waited], 0.99),
        tpot_p99_ms=_quantile([1e3 * record.tpot_s for record in waited if record.output_tokens > 1], 0.99),
        refusals=_refusals(refused),
        problems=_problems(run.records),
        lateness_p99_ms=_quantile([1e3 * (record.sent_s - record.due_s) for record in run.records], 0.99) or 0.0,
        generator_cpu=run.cpu_share,
        scheduling=run.scheduling,
    )


def _quantile(values: Sequence[float], share: float) -> float | None:
    return quantile(values, share) if values else None


def _refusals(refused: Sequence[Record]) -> dict[str, Refusals]:
    by_code: defaultdict[str, list[Record]] = defaultdict(list)
    for record in refused:
        by_code["all"].append(record)
        by_code[f"{record.status} {record.code or 'without a code'}"].append(record)
    return {code: Refusals.of(records) for code, records in by_code.items()}


def _problems(records: Sequence[Record]) -> dict[str, int]:
    said = Counter(
        f"{record.status} {record.problem}" for record in records if record.problem and not record.is_refused
    )
    return dict(said.most_common(5))
