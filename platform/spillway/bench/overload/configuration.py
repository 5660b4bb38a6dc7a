"""The configuration file that a bench writes for the platform it starts: only what differs from the defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from spillway.admission.contract import Objective
from spillway.settings import TierSettings

TIER: Final = "gold"
"""The tier of those who ask, and of the anonymous."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What a bench sets."""

    objective: Objective
    bulk_ttft_s: float
    max_queued_requests: int | None = None
    tenants: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By name, the hashes of their keys; all of the same tier and weight."""

    def text(self, shipped: TierSettings) -> str:
        """Return the file; `shipped` is what the tier is without it."""
        lines: list[str] = []
        tier = {
            "ttft_s": (self.objective.ttft_s, shipped.ttft_s),
            "tpot_s": (self.objective.tpot_s, shipped.tpot_s),
            "bulk_ttft_s": (self.bulk_ttft_s, shipped.bulk_ttft_s),
        }
        changed = [f"{name} = {value}" for name, (value, default) in tier.items() if value != default]
        if changed:
            lines += [f"[tiers.{TIER}]", *changed, ""]
        if self.max_queued_requests is not None:
            lines += ["[limits]", f"max_queued_requests = {self.max_queued_requests}", ""]
        for name, hashes in self.tenants.items():
            keys = ", ".join(f'"{each}"' for each in hashes)
            lines += [f"[tenants.{name}]", f'tier = "{TIER}"', "weight = 1.0", f"keys = [{keys}]", ""]
        return "\n".join(lines)
