"""Every number that says how patient the pool is, and how often it tries again: values, read in one place."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.stop import stop_base
from tenacity.wait import wait_base, wait_exponential, wait_random

from spillway_wire.links import LinkError


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPolicies:
    """Times in seconds."""

    verdict_s: float = 2.0
    """How long a request whose channel ended waits for the supervisor's word on the engine: who was aboard decides
    what is resumed alone. It usually comes within milliseconds."""
    connect_timeout_s: float = 5.0
    """An engine that has accepted a connection answers the hello within this, or is tried again."""
    connect_wait: wait_base = wait_exponential(multiplier=0.01, max=0.5) + wait_random(0.0, 0.02)
    """Between tries to connect to an engine that membership says is listening. There is no last try: membership says
    when it is over."""
    strikes_until_alone: int = 2
    """Crashes aboard, with no new token between, after which a request is resumed alone."""
    crashes_alone: int = 2
    """Crashes alone, with no new token between, after which it is quarantined."""
    max_quarantined: int = 1024
    """Fingerprints kept; the oldest makes room."""
    retry_after_s: tuple[float, float] = (1.0, 120.0)
    """Least and most that a refused client is told to wait."""
    drain_window_s: float = 10.0
    """The rate at which the queue drains is measured over this long."""


POLICIES = PoolPolicies()


class _StopWhen(stop_base):
    """Stops when a condition holds that only the world knows."""

    def __init__(self, over: Callable[[], bool]) -> None:
        self._over = over

    def __call__(self, retry_state: RetryCallState) -> bool:
        return self._over()


def connecting(
    policies: PoolPolicies, *, over: Callable[[], bool], sleep: Callable[[float], Awaitable[None]]
) -> AsyncRetrying:
    """Return tries to connect to an engine, until one succeeds or `over` says that nobody wants it any more."""
    return AsyncRetrying(
        retry=retry_if_exception_type((OSError, LinkError)),
        wait=policies.connect_wait,
        stop=_StopWhen(over),
        sleep=sleep,
        reraise=True,
    )
