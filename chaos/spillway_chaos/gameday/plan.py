"""What is written down before anything is broken."""

import datetime as dt
import random
from collections.abc import Sequence
from typing import Any

import msgspec

from spillway_chaos.drill import Drill
from spillway_chaos.errors import UsageError

ROLES = ("lead", "operator", "scribe", "observer")


class GamePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Of one game day."""

    written: dt.datetime
    hypothesis: str
    is_surprise: bool
    seed: int
    drill: str
    """Not told before its end, if it is a surprise."""
    roles: dict[str, str]
    planned_s: float


def draw(drills: Sequence[Drill], seed: int) -> Drill:
    """Return the drill that a seed means. Raises `UsageError` if there is none."""
    if not drills:
        raise UsageError("there is no drill to draw")
    return random.Random(seed).choice(sorted(drills, key=lambda each: each.name))


def read_roles(given: Sequence[str]) -> dict[str, str]:
    """Read `ROLE=NAME`. Raises `UsageError`."""
    found: dict[str, str] = {}
    for word in given:
        role, equals, name = word.partition("=")
        if not equals or not name or role not in ROLES:
            raise UsageError(f"--role {word!r} is not ROLE=NAME with one of the roles {', '.join(ROLES)}")
        found[role] = name
    return found


def to_plain(plan: GamePlan, *, hide: bool) -> dict[str, Any]:
    """Return it for its file; a surprise is hidden until it is over."""
    plain: dict[str, Any] = msgspec.to_builtins(plan)
    return plain | ({"drill": "a surprise"} if hide and plan.is_surprise else {})
