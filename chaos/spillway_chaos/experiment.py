"""A Chaos Toolkit experiment, typed: the part of the format that drills use. A key that is not here is a mistake.

Format: https://chaostoolkit.org/reference/api/experiment/ (Open Chaos Initiative). Every drill is also read, validated
and can be run by `chaos` itself; what that does not judge is said in `drill`.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

NotNegative = Annotated[float, Meta(ge=0)]
Text = Annotated[str, Meta(min_length=1)]


class PythonProvider(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A function to call."""

    type: Literal["python"] = "python"
    module: Text
    func: Text
    arguments: dict[str, Any] = {}


class ControlProvider(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A module whose functions are called around activities."""

    type: Literal["python"] = "python"
    module: Text


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """For runs by `chaos`: what sets the stage. Our runner does that itself."""

    name: Text
    provider: ControlProvider


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From a number to another."""

    type: Literal["range"] = "range"
    range: tuple[float, float]

    def holds(self, value: object) -> bool:
        """Whether a value lies within."""
        return isinstance(value, int | float) and self.range[0] <= value <= self.range[1]


Tolerance = bool | int | str | Range
"""Equal to it, or within it. Probes of state say what is wrong, so that the empty text is what they should say."""


class Pauses(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Seconds."""

    before: NotNegative = 0.0
    after: NotNegative = 0.0


class Activity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Something that is done, or asked."""

    type: Literal["action", "probe"]
    name: Text
    provider: PythonProvider
    tolerance: Tolerance | UnsetType = UNSET
    pauses: Pauses = Pauses()

    def tolerates(self, value: object) -> bool:
        """Whether what it returned is as it should be; anything is, where nothing is said."""
        if self.tolerance is UNSET:
            return True
        if isinstance(self.tolerance, Range):
            return self.tolerance.holds(value)
        return type(value) is type(self.tolerance) and value == self.tolerance


class Hypothesis(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What holds before, and again after."""

    title: Text
    probes: Annotated[tuple[Activity, ...], Meta(min_length=1)]


class Experiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="kebab"):
    """A whole file."""

    title: Text
    description: Text
    version: str = "1.0.0"
    tags: tuple[str, ...] = ()
    contributions: Annotated[dict[str, Literal["high", "medium", "low"]], Meta(min_length=1)]
    """Capabilities that it says something about."""
    controls: tuple[Control, ...] = ()
    steady_state_hypothesis: Hypothesis
    method: Annotated[tuple[Activity, ...], Meta(min_length=1)]
    rollbacks: Annotated[tuple[Activity, ...], Meta(min_length=1)]
    extensions: tuple[dict[str, Any], ...]
