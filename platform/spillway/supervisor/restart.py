"""When what died is started again: pure values in, a decision out.

::

    a run that was ready for `stable_after_s` and served     forgets all deaths before it, and its own is not counted
    a death that is a request's fault (see `blame`)          is not counted, and waits no longer than the one before
    any other                                                is counted; more than `intensity` within `period_s`: parked
    parked                                                   tried every `retry_parked_s`; one stable run ends it

The wait before the restart after k deaths is drawn from 0 to base x 2^(k-1), at most the cap ("full jitter": places
that died together do not come back together). Beyond `pool_intensity` restarts of the whole pool within `period_s`,
each further one waits until there is room in that window.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from spillway.settings import RestartSettings


@dataclass(frozen=True, slots=True)
class History:
    """A place's deaths that still count. Times in seconds of a monotonic clock."""

    deaths: tuple[float, ...] = ()
    """Those of the last period."""
    num_in_a_row: int = 0
    """Since the last stable run; the exponent of the wait."""
    parked: bool = False

    def forgive(self, since: float) -> "History":
        """Take back the deaths from `since` on: they turned out to be nobody's fault here."""
        kept = tuple(at for at in self.deaths if at < since)
        return replace(
            self, deaths=kept, num_in_a_row=max(0, self.num_in_a_row - len(self.deaths) + len(kept)), parked=False
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """What there is to know of one for this decision."""

    at: float
    ready_s: float | None
    """How long it was ready; None: never."""
    served: bool
    exempt: bool = False
    """It is not this place's fault."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done, and what to remember."""

    history: History
    wait_s: float
    """Until the next start."""

    @property
    def parked(self) -> bool:
        """Whether it is out of the pool until a try succeeds."""
        return self.history.parked


def decide(policy: RestartSettings, history: History, death: Death, uniform: Callable[[], float]) -> Verdict:
    """Decide on one death. `uniform` draws from 0 to 1."""
    if death.ready_s is not None and death.ready_s >= policy.stable_after_s and death.served:
        return Verdict(History(), backoff_s(policy, 1, uniform))
    if death.exempt:
        return Verdict(replace(history, parked=False), backoff_s(policy, max(1, history.num_in_a_row), uniform))
    recent = (*(at for at in history.deaths if at > death.at - policy.period_s), death.at)
    parked = history.parked or len(recent) > policy.intensity
    after = History(recent, history.num_in_a_row + 1, parked)
    return Verdict(after, policy.retry_parked_s if parked else backoff_s(policy, after.num_in_a_row, uniform))


def backoff_s(policy: RestartSettings, num_in_a_row: int, uniform: Callable[[], float]) -> float:
    """Return the wait before the restart after the `num_in_a_row`-th death (from 1)."""
    exponent = min(num_in_a_row - 1, 64)  # beyond that only the float would overflow
    longest: float = min(policy.backoff_cap_s, policy.backoff_base_s * 2**exponent)
    return uniform() * longest


@dataclass(slots=True)
class PoolIntensity:
    """Spreads the restarts of a whole pool, so that a pool that falls over does not become a storm."""

    policy: RestartSettings
    _booked: list[float] = field(default_factory=list)
    """When the last ones were, or will be, in order."""

    def book(self, now: float, wait_s: float) -> float:
        """Book one restart at the earliest after `wait_s`; return how long to wait for it."""
        limit, period_s = self.policy.pool_intensity, self.policy.period_s
        self._booked = [at for at in self._booked if at > now - period_s]
        at = now + wait_s
        if len(self._booked) >= limit:
            at = max(at, self._booked[-limit] + period_s)
        self._booked = sorted([*self._booked, at])
        return at - now
