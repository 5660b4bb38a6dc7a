"""The page kept by the step loop: which step runs, since when, how long it should take, and who is aboard."""

from collections.abc import Callable

from spillway_engine.plan import Runner, StepPlan, StepResult
from spillway_engine.request import Sequence
from spillway_wire.page import PageWriter


class DurationEstimate:
    """How long a step of so many tokens should take: a moving average for each power of two of tokens.

    What was never seen is scaled up in proportion from the nearest smaller size, which overestimates (a small step has
    much overhead per token), or taken from a larger one. Before the first step it is `cold_ns`.
    """

    _WEIGHT = 0.25
    """Of the newest step: one outlier does not teach patience, a change of regime is learnt in a few steps."""

    def __init__(self, cold_ns: int) -> None:
        self._cold_ns = cold_ns
        self._by_size: dict[int, float] = {}

    def expected_ns(self, num_tokens: int) -> int:
        """Return the estimate for a step of `num_tokens`."""
        size = num_tokens.bit_length()
        known = self._by_size.get(size)
        if known is not None:
            return int(known)
        if not self._by_size:
            return self._cold_ns
        smaller = [seen for seen in self._by_size if seen < size]
        if smaller:
            return int(self._by_size[max(smaller)] * 2 ** (size - max(smaller)))
        return int(self._by_size[min(self._by_size)])

    def learn(self, num_tokens: int, took_ns: int) -> None:
        """Take in how long a step took."""
        size = num_tokens.bit_length()
        known = self._by_size.get(size, float(took_ns))
        self._by_size[size] = known + self._WEIGHT * (took_ns - known)


class WatchedRunner:
    """A runner that says on the page what it is about to run, before it runs it."""

    def __init__(
        self, inner: Runner, page: PageWriter, estimate: DurationEstimate, clock_ns: Callable[[], int]
    ) -> None:
        self._inner, self._page, self._estimate, self._clock_ns = inner, page, estimate, clock_ns
        self._aboard: list[Sequence] = []

    def execute(self, plan: StepPlan) -> StepResult:
        """Run `plan` under watch; the loop writes the end of the step when the core is done with it, too."""
        aboard = [row.sequence for row in plan.rows]
        if aboard != self._aboard:  # compares identities: sequences have no equality of their own
            self._aboard = aboard
            self._page.set_aboard([(*sequence.request.key, sequence.choice) for sequence in aboard])
        started_ns = self._clock_ns()
        self._page.begin(plan.step, started_ns, self._estimate.expected_ns(plan.num_tokens))
        result = self._inner.execute(plan)
        self._estimate.learn(plan.num_tokens, self._clock_ns() - started_ns)
        return result

    def close(self) -> None:
        """Close the runner inside."""
        self._inner.close()
