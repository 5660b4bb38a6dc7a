"""What a run has seen: frozen values, kept in the journal, so that every finding can be recomputed."""

import msgspec

from spillway_chaos.stage.load import LoadResult
from spillway_chaos.stage.receiver import Alert
from spillway_chaos.stage.recorder import Change
from spillway_chaos.stage.stage import Strike


class Traces(msgspec.Struct, frozen=True, kw_only=True):
    """What became of traces of requests, by the platform's own account."""

    expected: int
    """Requests that ended."""
    kept: int
    """Of them, with a trace that was kept, or left out by sampling."""
    dropped: int
    """For want of room, or because they could not be put together."""
    recovered: int
    """Recovered requests among those in the store."""
    recovered_with_attempts: int
    """Of them, those whose trace shows each attempt."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. Times of the monotonic clock."""

    strikes: tuple[Strike, ...]
    fault_ended_at: float | None
    load: LoadResult | None
    changes: tuple[Change, ...]
    alerts: tuple[Alert, ...]
    load_ended_unix: float
    silent: bool
    """Whether all pages had ended when the drill did."""
    outcomes: dict[str, int]
    """By the platform's own account, from the first request to the last."""
    recoveries: int
    conservation_gap: float
    """Arrivals less outcomes less what is open."""
    traces: Traces | None
    owed: str
    """At the end: what is not as it was."""
    exit_status: int | None
    left_over: dict[str, int]
    """Processes that outlived the platform."""
    restarts: int
    """Of engines."""
    judged: dict[str, float]
    """Requests by the platform's own verdict: good, or what was wrong."""
    deviations: tuple[str, ...] = ()
    """Probes of the method, but for proofs, that were out of tolerance."""
    unsteady: str = ""
    """What of the steady state is not met after the fault."""

    @property
    def struck_at(self) -> float | None:
        """The first blow."""
        return min((strike.at for strike in self.strikes), default=None)
