"""AlertPolicies and AlertConditions → rows of burn rates."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from spillway_slo import openslo
from spillway_slo.errors import SpecError
from spillway_slo.found import Found
from spillway_slo.windows import BurnWindow, parse_duration, recorded_name

SEVERITIES: Final = ("page", "ticket")
SHORT_WINDOW: Final = openslo.PREFIX + "short-window"


def read_policies(named: Mapping[tuple[str, str], Found]) -> dict[str, BurnWindow]:
    """Return the rows by the name of their policy. Raises `SpecError`."""
    found: dict[str, BurnWindow] = {}
    for (kind, name), document in named.items():
        if kind == "AlertPolicy":
            found[name] = _row(name, document, named)
    return found


def _row(name: str, policy: Found, named: Mapping[tuple[str, str], Found]) -> BurnWindow:
    place, spec = policy.place, policy.spec
    if len(spec.conditions) != 1:
        raise SpecError(f"{place}: spec.conditions must name one condition, as OpenSLO v1 has it")
    ref = spec.conditions[0].condition_ref
    condition = named.get(("AlertCondition", ref))
    if condition is None:
        raise SpecError(f"{place}: spec.conditions[0].conditionRef is {ref!r}; there is no AlertCondition of this name")
    return _window(name, condition)


def _window(name: str, document: Found) -> BurnWindow:
    place, head, spec = document.place, document.head, document.spec
    said = spec.condition
    if said.kind != "burnrate" or said.op not in {"gt", "gte"}:
        raise SpecError(f"{place}: spec.condition must be of the kind burnrate, with the op gt")
    if spec.severity not in SEVERITIES:
        raise SpecError(f"{place}: spec.severity is {spec.severity!r}; it must be one of: {', '.join(SEVERITIES)}")
    short = head.metadata.annotations.get(SHORT_WINDOW)
    if short is None:
        raise SpecError(f"{place}: metadata.annotations lacks {SHORT_WINDOW}; give a twelfth of the long window")
    try:
        long_s, short_s = parse_duration(said.lookback_window), parse_duration(short)
        row = BurnWindow(
            name=name,
            severity=spec.severity,
            factor=Fraction(repr(said.threshold)),
            long=recorded_name(long_s),
            short=recorded_name(short_s),
        )
    except SpecError as error:
        raise SpecError(f"{place}: {error}") from None
    if short_s >= long_s or row.factor <= 0:
        raise SpecError(f"{place}: the short window must be shorter than the long one, and the threshold above 0")
    return row
