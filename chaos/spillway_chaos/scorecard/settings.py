"""The loop's one file, typed. Defaults are those of the shipped `loop.toml`."""

import datetime as dt
import re
import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from spillway_chaos.errors import UsageError

NotNegative = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Points = Annotated[float, Meta(ge=0, le=100)]
Level = Literal["basic", "advanced", "expert", "leading", "reference"]
SHIPPED: Final = (Path(__file__).parents[2] / "loop.toml", Path(__file__).parents[1] / "loop.toml")
_DURATION: Final = re.compile(r"([1-9][0-9]{0,4})([smhdw])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Sources(_Table, frozen=True, kw_only=True):
    """Where evidence lies."""

    journals: str = ".chaos/journals"
    games: str = ".chaos/games"
    scorecards: str = ".chaos/scorecards"
    slo: str | None = None
    """`GET /slo` of a running platform."""


class FollowIncidents(_Table, frozen=True, kw_only=True):
    """How weights follow incidents."""

    factor: Annotated[float, Meta(ge=1)] = 1.5
    for_days: NotNegative = 30.0


class Contributions(_Table, frozen=True, kw_only=True):
    """What a drill weighs within a capability."""

    high: Positive = 3.0
    medium: Positive = 2.0
    low: Positive = 1.0


class Credit(_Table, frozen=True, kw_only=True):
    """Points by standing."""

    proven: Points = 100.0
    held: Points = 75.0
    expired: Points = 50.0
    broken: Points = 25.0
    never: Points = 0.0


class Expiry(_Table, frozen=True, kw_only=True):
    """When a result is too old."""

    after_days: Positive = 7.0


class Improvement(_Table, frozen=True, kw_only=True):
    """When an improvement counts."""

    verified_from: Annotated[float, Meta(gt=0, le=1)] = 0.2


class Cadence(_Table, frozen=True, kw_only=True):
    """What a round does."""

    every: str = "1d"
    drills: str = "quick"
    gaps: Annotated[int, Meta(ge=0)] = 3


class Mail(_Table, frozen=True, kw_only=True, rename={"sender": "from"}):
    """By SMTP."""

    to: Annotated[tuple[str, ...], Meta(min_length=1)]
    sender: str
    server: str = "localhost:25"


class Delivery(_Table, frozen=True, kw_only=True):
    """Who is told."""

    webhooks: tuple[str, ...] = ()
    mail: Mail | None = None


class Incident(_Table, frozen=True, kw_only=True):
    """What happened outside of drills."""

    at: dt.date
    capability: str
    about: str


class Milestone(_Table, frozen=True, kw_only=True):
    """A level, by a day."""

    day: Annotated[int, Meta(ge=1)]
    name: str
    level: Level


class Plan(_Table, frozen=True, kw_only=True):
    """Days and milestones."""

    days: Annotated[int, Meta(ge=1)] = 30
    begun: dt.date | None = None
    """None: the day of the first scorecard."""
    milestones: tuple[Milestone, ...] = (
        Milestone(day=3, name="seen", level="basic"),
        Milestone(day=10, name="proven", level="advanced"),
        Milestone(day=20, name="covered", level="expert"),
        Milestone(day=30, name="kept", level="leading"),
    )


def _weights() -> dict[str, float]:
    return {
        "redundancy": 3.0,
        "recovery": 3.0,
        "overload": 3.0,
        "dependencies": 2.0,
        "observability": 2.0,
        "machine": 1.0,
    }


class LoopSettings(_Table, frozen=True, kw_only=True):
    """A whole file."""

    sources: Sources = Sources()
    weights: dict[str, Positive] = msgspec.field(default_factory=_weights)
    weights_follow_incidents: FollowIncidents = FollowIncidents()
    contributions: Contributions = Contributions()
    credit: Credit = Credit()
    expiry: Expiry = Expiry()
    improvement: Improvement = Improvement()
    cadence: Cadence = Cadence()
    delivery: Delivery = Delivery()
    incidents: tuple[Incident, ...] = ()
    plan: Plan = Plan()


def load(path: Path | None) -> LoopSettings:
    """Read the file, or the shipped one. Raises `UsageError` with the key and what is allowed."""
    found = path or next((each for each in SHIPPED if each.exists()), None)
    if found is None:
        return LoopSettings()
    try:
        settings = msgspec.convert(tomllib.loads(found.read_text(encoding="utf-8")), LoopSettings)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the loop's file {found} cannot be read: {error}") from None
    except msgspec.ValidationError as error:
        raise UsageError(f"{found}: {error}") from None
    seconds_of(settings.cadence.every)
    for incident in settings.incidents:
        if incident.capability not in settings.weights:
            known = ", ".join(settings.weights)
            raise UsageError(f"{found}: an incident is about {incident.capability!r}; capabilities are: {known}")
    return settings


def at(settings: LoopSettings, home: Path | None) -> LoopSettings:
    """Return the settings with their sources in another home."""
    if home is None:
        return settings
    places = {name: str(home / name) for name in ("journals", "games", "scorecards")}
    return msgspec.structs.replace(settings, sources=msgspec.structs.replace(settings.sources, **places))


def seconds_of(text: str) -> int:
    """Return the seconds of `30m` or `1d`. Raises `UsageError`."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no duration; write a whole number and s, m, h, d or w, such as 30m or 1d")
    return int(found[1]) * _UNITS[found[2]]


def weights_at(settings: LoopSettings, today: dt.date) -> dict[str, float]:
    """Return the capabilities' weights, with those of recent incidents raised, once each."""
    follow = settings.weights_follow_incidents
    raised = {
        incident.capability for incident in settings.incidents if 0 <= (today - incident.at).days <= follow.for_days
    }
    return {name: weight * (follow.factor if name in raised else 1.0) for name, weight in settings.weights.items()}
