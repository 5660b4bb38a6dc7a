"""Which objectives the settings mean."""

from fractions import Fraction
from typing import Final

from spillway.settings import Settings
from spillway_slo.loading import load
from spillway_slo.objective import Objective

AUTO: Final = "auto"
_DEMO: Final = "demo"


def profile_of(settings: Settings) -> str:
    """Return the profile, or the path, that is meant: where it is not said, `laptop` for the demo model alone."""
    if settings.slo.objectives != AUTO:
        return settings.slo.objectives
    only_demo = all(model.model == _DEMO for model in settings.models)
    return "laptop" if only_demo and settings.device != "cuda" else "standard"


def objectives_of(settings: Settings) -> tuple[Objective, ...]:
    """Return them, of tiers that there are. Raises `SpecError`, which is a ValueError."""
    return tuple(each for each in load(profile_of(settings)) if not each.tier or each.tier in settings.tiers)


def scale_of(settings: Settings) -> Fraction:
    """Return the factor of all windows, exactly as it was written."""
    return Fraction(repr(settings.slo.time_scale)).limit_denominator(1_000_000)
