"""A drill: an experiment of Chaos Toolkit's with the terms that make its result trustworthy.

The terms stand in the file's `extensions`, under the name `spillway`. Chaos Toolkit by itself exits 0 when the steady
state was not met before, when an action fails, and when a probe of the method is out of tolerance; it needs no proof
that a fault took hold, and restores nothing if it is killed. Here every fault names its proof, says how much it may
hit and when to stop, what is expected of clients' requests, which alerts are to fire, and with which setting, by which
the defence is turned off, it must fail.
"""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import yaml
from msgspec import Meta

from spillway_chaos.errors import UsageError
from spillway_chaos.experiment import Experiment, NotNegative, Text

NAME: Final = "spillway"
SHIPPED: Final = (Path(__file__).parents[1] / "drills", Path(__file__).parent / "drills")
"""Where the shipped ones are: in the source tree, and in an installed package."""
NO_FAULTS: Final = ("start_", "finish_", "end_", "remove_", "continue_", "restart_")
"""How actions begin that break nothing."""
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Kind = Literal["engine", "gateway", "ops", "redis", "supervisor", "collector", "client", "machine"]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class PlatformTerms(_Part, frozen=True, kw_only=True):
    """What is started."""

    flags: tuple[str, ...] = ()
    """Of `spillway serve`."""
    redis: Literal["embedded", "proxied"] = "embedded"
    """`proxied`: a Redis of the stage's, behind a proxy."""
    collector: bool = False
    """Whether traces go to a collector of the stage's, behind a proxy."""
    tenant: bool = False
    """Whether the load's requests are a tenant's, with quotas, so that each asks Redis."""
    clock: bool = False
    """Whether the processes' wall clock can be moved."""


class FaultTerms(_Part, frozen=True, kw_only=True):
    """One fault of the method."""

    kind: Text
    """Of the catalogue in docs/chaos.md, such as `engine-sigkill`."""
    action: Text
    """The name of the activity that makes it."""
    proof: Text
    """The name of the probe that shows that it took hold; it stands later in the method, and has a tolerance."""


class Expectations(_Part, frozen=True, kw_only=True):
    """What is expected of the load's requests and of the platform, from the first request to the last.

    Exactness is always expected, also of what the fault hit, and so is that nothing is owed at the end.
    """

    failed_at_most: Count = 0
    """Requests that ended in an error, or never."""
    refused_at_most: Share = 0.0
    """Share of requests."""
    good_at_least: Share | None = None
    """Share of all requests that came whole, exact and in time."""
    goodput_at_least: NotNegative | None = None
    """Good answers a second during the fault, as a part of those before it."""
    served_at_least: Share | None = None
    """Good answers during the fault, as a part of the requests that were due then."""
    pause_at_most_s: NotNegative | None = None
    """Between two pieces of one stream."""
    detected_within_s: NotNegative | None = None
    """From the blow until the supervisor knew."""
    recovered_within_s: NotNegative | None = None
    """From the blow until all places were ready again."""
    first_token_within_s: NotNegative | None = None
    """The longest that an answer, which came whole, let wait for its first token."""
    restarts_at_most: Count | None = None
    """Of engines."""
    recoveries_at_least: Count = 0
    """Requests that went on on another engine."""
    outcomes: dict[str, tuple[Count, Count | None]] = {}
    """By the platform's own account: at least and at most so many (null: any number) of each of these."""
    traces_lost_at_most: Count = 0
    """Requests without a trace."""
    exits_with: int | None = 0
    """Status of `spillway serve` at the end; null: it was killed."""


class AlertTerms(_Part, frozen=True, kw_only=True):
    """Which pages are to be heard of. Tickets reach farther back than any drill, and are only noted."""

    fires: tuple[str, ...] = ()
    """Families of objectives, such as `availability`: of at least one tier, a page of each."""
    tolerates: tuple[str, ...] = ()
    """Families of which one may fire, or not; all others must be silent."""
    within_s: NotNegative = 3.0
    """From the blow."""
    clears_within_s: NotNegative = 15.0
    """From the end of the load."""


class AbortTerms(_Part, frozen=True, kw_only=True):
    """When to stop and restore at once."""

    failed_share: Share = 0.9
    """Of the requests that were due so far; counted from the tenth on."""
    longest_s: Annotated[float, Meta(gt=0)] = 60.0
    """The method may take."""


class ControlTerms(_Part, frozen=True, kw_only=True):
    """The negative control: with the defence turned off, the drill must fail."""

    turns_off: Text
    """What, in words."""
    flags: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Settings of `spillway serve` that an operator could give, too; they come last, so they count."""
    breaks: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Findings that must be broken, so that it fails for the right reason."""


class Terms(_Part, frozen=True, kw_only=True):
    """The extension."""

    name: Literal["spillway"] = "spillway"
    promise: Annotated[int, Meta(ge=1, le=5)]
    """Of the five that docs/chaos.md names."""
    platform: PlatformTerms = PlatformTerms()
    faults: Annotated[tuple[FaultTerms, ...], Meta(min_length=1)]
    fault_ends: Text | None = None
    """The activity with whose end the fault is over; None: the last proof."""
    blast_radius: dict[Kind, Annotated[int, Meta(ge=1)]]
    """How many of each kind may be hit."""
    abort: AbortTerms = AbortTerms()
    expect: Expectations = Expectations()
    alerts: AlertTerms = AlertTerms()
    control: ControlTerms | None = None
    without_control: str = ""
    """Why there is no control, where there is none."""


class Drill(msgspec.Struct, frozen=True, kw_only=True):
    """One file, checked."""

    name: str
    path: str
    experiment: Experiment
    terms: Terms

    @property
    def is_quick(self) -> bool:
        """Whether it is one of `make drill`."""
        return "quick" in self.experiment.tags


def load(given: str) -> Drill:
    """Read a drill from a file, or a shipped one by its name. Raises `UsageError`."""
    path = _find(given)
    try:
        return parse(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the drill {path} cannot be read: {error}") from None


def parse(text: str, path: Path) -> Drill:
    """Check what a file holds. Raises `UsageError` with the key, what was given and what is allowed."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    try:
        experiment = msgspec.convert(content, Experiment)
        ours = [table for table in experiment.extensions if table.get("name") == NAME]
        if len(ours) != 1:
            raise UsageError(f"{path}: extensions must hold one table with the name {NAME!r}; see docs/chaos.md")
        terms = msgspec.convert(ours[0], Terms)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {_explained(str(error))}") from None
    drill = Drill(name=path.stem, path=str(path), experiment=experiment, terms=terms)
    problem = _problem(drill)
    if problem:
        raise UsageError(f"{path}: {problem}")
    return drill


def shipped() -> dict[str, Path]:
    """Return the shipped drills by name."""
    return {path.stem: path for folder in SHIPPED for path in sorted(folder.glob("*.yaml"))}


def _find(given: str) -> Path:
    path = Path(given)
    if path.suffix or path.exists():
        return path
    known = shipped()
    if given not in known:
        near = difflib.get_close_matches(given, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
        raise UsageError(f"{given!r} is no drill and no file; {hint}")
    return known[given]


_PLACE: Final = re.compile(r"(?P<what>.*) - at `\$\.?(?P<where>.*)`")


def _explained(message: str) -> str:
    found = _PLACE.fullmatch(message)
    return f"{found['where']}: {found['what']}" if found else message


def _problem(drill: Drill) -> str | None:
    """Return what the format alone does not tell."""
    return next(filter(None, (*_method_problems(drill), *_fault_problems(drill), *_other_problems(drill))), None)


def _method_problems(drill: Drill) -> Iterator[str]:
    method = drill.experiment.method
    names = [activity.name for activity in method]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield f"two activities of the method are called {name!r}; names must differ"
    proven = {fault.action for fault in drill.terms.faults}
    for activity in method:
        is_fault = activity.type == "action" and not activity.provider.func.startswith(NO_FAULTS)
        if is_fault and activity.name not in proven:
            yield f"the action {activity.name!r} is no fault of extensions.spillway.faults: what proves it?"
    functions = [activity.provider.func for activity in method]
    if "start_load" not in functions or "finish_load" not in functions:
        yield "the method needs start_load and finish_load: a drill without load shows nothing of requests"


def _fault_problems(drill: Drill) -> Iterator[str]:
    method = drill.experiment.method
    names = [activity.name for activity in method]
    for fault in drill.terms.faults:
        for what, name in (("action", fault.action), ("proof", fault.proof)):
            if name not in names:
                yield f"the fault {fault.kind} names the {what} {name!r}, which the method has not"
                return
        proof = method[names.index(fault.proof)]
        if proof.type != "probe" or proof.tolerance is msgspec.UNSET:
            yield f"{fault.proof!r} is to prove {fault.kind}: it must be a probe with a tolerance"
        if names.index(fault.proof) < names.index(fault.action):
            yield f"{fault.proof!r} is to prove {fault.kind}, and stands before it"
    if drill.terms.fault_ends is not None and drill.terms.fault_ends not in names:
        yield f"fault_ends is {drill.terms.fault_ends!r}, which the method has not"


def _other_problems(drill: Drill) -> Iterator[str]:
    if any(probe.tolerance is msgspec.UNSET for probe in drill.experiment.steady_state_hypothesis.probes):
        yield "every probe of the steady state needs a tolerance"
    if (drill.terms.control is None) == (not drill.terms.without_control):
        yield "give a control, or say in without_control why there is none"
