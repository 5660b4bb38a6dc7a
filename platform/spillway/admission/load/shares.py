"""Which part of the slots that come free goes to one tenant in one band.

A band gets what those above it leave, down to its floor; a tenant within it what the others leave, down to its share by
weight. Others leave what they do not ask for, so a light neighbour takes no more than it uses, and one that asks for
more than its share takes its share::

    all slots, 10/s ──▶ interactive uses 2/s ──▶ default may have the rest, 8/s
                                                   tenant a, weight 1, asks for 1/s
                                                   tenant b, weight 1, may have 7/s: more than its half of 8/s
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from spillway.admission.contract import FLOORS, Ask, Band
from spillway.admission.load.model_load import Waiting
from spillway.admission.load.rates import RateMeter

MAX_TENANTS: Final = 1024
IDLE: Final = 0.001
"""Of all slots: a tenant that asks for less is not counted."""


@dataclass(slots=True)
class _Account:
    weight: float = 1.0
    tokens: float = 0.0
    """Of its requests, typically: prompt, and twice the answer; 0 as long as none was served."""
    wanted: RateMeter = field(default_factory=RateMeter)


class Shares:
    """Of one model's slots, in this gateway."""

    def __init__(self) -> None:
        self._taken = {band: RateMeter() for band in Band}
        self._tenants: dict[Band, dict[str, _Account]] = {band: {} for band in Band}
        """The one that asked last comes last."""

    def want(self, ask: Ask, now: float) -> None:
        """A request comes, whatever becomes of it."""
        tenants = self._tenants[ask.band]
        account = tenants.pop(ask.tenant_id, _Account())
        tenants[ask.tenant_id] = account
        account.weight = ask.weight
        account.wanted.add(ask.sequences, now)
        if len(tenants) > MAX_TENANTS:
            del tenants[next(iter(tenants))]

    def take(self, ask: Ask, now: float) -> None:
        """A request leaves the queue for an engine."""
        self._taken[ask.band].add(ask.sequences, now)
        account = self._tenants[ask.band].get(ask.tenant_id)
        if account is not None:
            tokens = ask.prompt_tokens - ask.matched_tokens + 2.0 * ask.output_tokens
            account.tokens += (tokens - account.tokens) / (16 if account.tokens else 1)

    def part(self, ask: Ask, slots_per_s: float, waiting: Mapping[Band, Mapping[str, Waiting]], now: float) -> float:
        """Return the slots per second that are the asking tenant's to have, out of `slots_per_s`."""
        above = sum(self._taken[other].per_s(now) for other in Band if other < ask.band)
        below = sum(FLOORS[other] for other in Band if other > ask.band and waiting.get(other))
        of_band = max(FLOORS[ask.band] * slots_per_s, slots_per_s * (1.0 - below) - above)
        tenants = self._tenants[ask.band]
        own = tenants.get(ask.tenant_id)
        typical = 0.0 if own is None else own.tokens
        others: list[tuple[float, float]] = []
        for name, account in tenants.items():
            wanted = account.wanted.per_s(now)
            if name != ask.tenant_id and wanted > IDLE * slots_per_s:
                alike = typical / account.tokens if typical and account.tokens else 1.0
                others.append((account.weight * alike, wanted))
        all_weights = ask.weight + sum(weight for weight, _ in others)
        taken = sum(min(wanted, of_band * weight / all_weights) for weight, wanted in others)
        return max(of_band * ask.weight / all_weights, of_band - taken, 1e-9)
