"""A campaign's file: TOML, every key checked, every mistake told with its place.

::

    about = "A steady hundred requests a second."
    duration_s = 60
    arrivals = { process = "poisson", rate = 100 }
    shape = { kind = "spike", times = 5 }
    [[work]]
    kind = "count"
    [good.all]
    ttft_ms = 500
    [[objectives]]
    kind = "latency"
    measure = "ttft"
    percentile = 99
    at_most_ms = 400
"""

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from spillway_load.arrivals import Process
from spillway_load.errors import CampaignError
from spillway_load.objectives import ALL, Limits, Objective, ShareObjective
from spillway_load.prompts import Counting, Work
from spillway_load.shapes import NotNegative, Positive, Shape, Steady
from spillway_load.traces import Replay

SHARE = Annotated[float, Meta(ge=0, le=1)]
_INSTALLED: Final = Path(__file__).parent / "campaigns"
SHIPPED: Final = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[1] / "campaigns"
"""Beside the code where it was installed from a wheel, beside its folder in a checkout."""


class Sender(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whose requests these are, as they say it."""

    tenant: str = ""
    tier: str = ALL
    """The name of what it is promised, for the report and `[good.TIER]`."""
    key: str | None = None
    """API key; `--keys` gives those that no file should hold."""
    service_tier: str | None = None
    weight: Positive = 1.0


class Crowd(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Many tenants, of which few ask much: the share of the k-th is in proportion to `k ** -skew`."""

    count: Annotated[int, Meta(ge=1, le=10_000)]
    skew: NotNegative = 1.0
    tier: str = ALL


class Clients(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How clients behave."""

    patience_s: Positive = 60.0
    """After this a client gives up an attempt."""
    retries: Annotated[int, Meta(ge=0, le=100)] = 0
    """How often one comes back after a refusal or a failure before the first token."""
    obey: bool = True
    """Whether it waits as long as it was told to; else it comes back at once."""
    leave: SHARE = 0.0
    """Share of clients that hang up in the middle of their answer."""
    slow: SHARE = 0.0
    """Share of clients that read slowly."""
    slow_bytes_per_s: Positive = 512.0
    keep_alive: bool = True
    """Whether connections are used again."""


class Saturation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A search for the highest rate that meets the objectives: doubling, then halving the gap."""

    lowest: Positive
    """Requests a second."""
    highest: Positive
    step_s: Positive = 20.0
    """Seconds at each rate."""
    precision: Annotated[float, Meta(gt=0, lt=1)] = 0.1
    """The search ends when the gap is at most this part of the rate."""
    pause_s: NotNegative = 1.0
    """Between two rates."""


class Campaign(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is asked, by whom, when, and what is expected of it."""

    about: str
    duration_s: Positive
    arrivals: Process | Replay
    name: str = ""
    """Else the file's."""
    seed: int = 1
    shape: Shape = Steady()
    work: Annotated[tuple[Work, ...], Meta(min_length=1)] = (Counting(),)
    senders: Annotated[tuple[Sender, ...], Meta(min_length=1)] = (Sender(),)
    crowd: Crowd | None = None
    """In place of `senders`."""
    clients: Clients = Clients()
    good: dict[str, Limits] = {}
    """By tier; `all` for tiers that are not named."""
    objectives: tuple[Objective, ...] = ()
    saturation: Saturation | None = None
    most_mistakes: SHARE = 0.02
    """Share of answers that may be the model's own mistakes; more, and nobody can tell them from the platform's."""
    lag_limit_ms: Positive = 10.0
    """A run whose generator's p99 lag is beyond this is invalid."""
    folder: str = ""
    """Where its trace is looked for; set by `load`."""


def load(given: str) -> Campaign:
    """Read a campaign from a file, or a shipped one by its name. Raises `CampaignError`."""
    path = _find(given)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CampaignError(f"the campaign {path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise CampaignError(f"the campaign {path} is no TOML: {error}") from None
    return parse(content, path)


def parse(content: dict[str, Any], path: Path) -> Campaign:
    """Check what a file holds. Raises `CampaignError` with the key, what was given and what is allowed."""
    content = {"name": path.stem, **content, "folder": str(path.parent)}
    try:
        campaign = msgspec.convert(content, Campaign)
    except msgspec.ValidationError as error:
        raise CampaignError(f"{path}: {_explained(str(error))}") from None
    tiers = {sender.tier for sender in campaign.senders} | ({campaign.crowd.tier} if campaign.crowd else set())
    for number, objective in enumerate(campaign.objectives, start=1):
        if isinstance(objective, ShareObjective) and (objective.at_least is None) == (objective.at_most is None):
            raise CampaignError(f"{path}: objective {number} needs one of at_least and at_most")
        tier = getattr(objective, "tier", ALL)
        if tier not in {ALL, *tiers}:
            raise CampaignError(
                f"{path}: objective {number} is about the tier {tier!r}, of which nobody sends; there are: "
                + ", ".join(sorted({ALL, *tiers}))
            )
    if campaign.saturation and campaign.saturation.lowest > campaign.saturation.highest:
        raise CampaignError(f"{path}: saturation.lowest is above saturation.highest")
    if campaign.saturation and isinstance(campaign.arrivals, Replay):
        raise CampaignError(f"{path}: a trace has its own rate; a saturation search needs another process")
    return campaign


def shipped() -> dict[str, Path]:
    """Return the shipped campaigns by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def _find(given: str) -> Path:
    path = Path(given)
    if path.suffix or path.exists():
        return path
    known = shipped()
    if given not in known:
        near = difflib.get_close_matches(given, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
        raise CampaignError(f"{given!r} is no campaign and no file; {hint}")
    return known[given]


_PLACE: Final = re.compile(r"(?P<what>.*) - at `\$\.?(?P<where>.*)`")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`")
_TABLES: Final = (Campaign, Clients, Sender, Crowd, Saturation, Limits)


def _explained(message: str) -> str:
    found = _PLACE.fullmatch(message)
    what, where = (found["what"], found["where"]) if found else (message, "")
    unknown = _UNKNOWN.fullmatch(what)
    if unknown:
        fields = [name for table in _TABLES for name in table.__struct_fields__]
        near = difflib.get_close_matches(unknown[1], fields, n=1)
        what = f"there is no key {unknown[1]!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    return f"{where}: {what}" if where else what
