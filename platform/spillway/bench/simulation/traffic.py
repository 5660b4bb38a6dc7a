"""What is asked: Poisson arrivals at rates that change in steps, mixed lengths, and clients that obey or do not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from random import Random
from typing import Final

from spillway.admission.contract import Band, Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens of prompts and answers: log-normal, with a median and a spread, cut at the most."""

    prompt: int = 128
    answer: int = 64
    spread: float = 0.6
    most: int = 1024

    def draw(self, random: Random) -> tuple[int, int]:
        """Return one prompt's and one answer's."""
        prompt, answer = (
            min(self.most, max(1, round(median * random.lognormvariate(0.0, self.spread))))
            for median in (self.prompt, self.answer)
        )
        return prompt, answer


LENGTHS: Final = Lengths()
GOLD: Final = Objective(ttft_s=1.0, tpot_s=0.1)
GOLD_BULK: Final = Objective(ttft_s=10.0, tpot_s=0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One kind of clients: requests per second from each moment on, and who they are."""

    rates: Sequence[tuple[float, float]]
    """(from second, requests per second)."""
    tenant_id: str = "anonymous"
    band: Band = Band.DEFAULT
    weight: float = 1.0
    objective: Objective = GOLD
    lengths: Lengths = LENGTHS
    tries: int = 1
    """How often a client asks at most."""
    obeys: bool = True
    """Whether it comes back when told; else after half a second."""


@dataclass(slots=True, kw_only=True)
class Request:
    """One client's request, and how it went."""

    id: str
    source: Source
    at: float
    prompt_tokens: int
    output_tokens: int
    tries: int = 0
    asked_at: float = 0.0
    """Its last try."""
    admitted_at: float | None = None
    dispatched_at: float | None = None
    first_at: float | None = None
    ended_at: float | None = None
    refusals: int = 0
    failed: bool = False
    """Admitted, and then ended for load."""

    @property
    def good(self) -> bool:
        """Complete, and within its objective."""
        return self.ended_at is not None and self.ttft_s <= self.source.objective.ttft_s and self.tpot_ok

    @property
    def ttft_s(self) -> float:
        """From its last try to its first token."""
        return float("inf") if self.first_at is None else self.first_at - self.asked_at

    @property
    def tpot_ok(self) -> bool:
        """Whether its later tokens came in time."""
        return self.tpot_s <= self.source.objective.tpot_s

    @property
    def tpot_s(self) -> float:
        """Mean time of each later token."""
        if self.ended_at is None or self.first_at is None:
            return float("inf")
        return (self.ended_at - self.first_at) / max(1, self.output_tokens - 1)


def arrivals(sources: Sequence[Source], end_s: float, random: Random) -> Iterator[Request]:
    """Draw all requests until `end_s`, source by source."""
    serial = count()
    for source in sources:
        changes = [*source.rates, (end_s, 0.0)]
        for (start_s, rate), (until_s, _) in pairwise(changes):
            when = start_s
            while rate > 0.0 and (when := when + random.expovariate(rate)) < min(until_s, end_s):
                prompt, output = source.lengths.draw(random)
                yield Request(id=str(next(serial)), source=source, at=when, prompt_tokens=prompt, output_tokens=output)
