"""Tiers, tenants and the brownout ladder: tables with names of the user's own, in spillway.toml alone.

::

    [tiers.gold]                      # those that are there by themselves can be changed, and others added
    ttft_s = 0.5

    [tenants.acme]                    # all is optional; what is not given is not limited
    tier = "gold"                     # else admission.anonymous_tier
    weight = 2.0                      # else the tier's
    keys = ["ABCDEFGH:0123…"]         # as `spillway tenants key acme --hash` prints them
    requests_per_minute = 600
    tokens_per_day = 10_000_000
    models = ["chat"]                 # names of served models; else all
    bands = ["default", "bulk"]
    default_band = "bulk"
    [tenants.acme.batch]              # limits by kind of call, on top
    max_concurrent = 2

    [[brownout]]                      # the whole ladder, in the place of the one that is there by itself
    name = "bulk-short"
    at = 0.8
    bands = ["bulk"]
    max_tokens = 256
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from spillway.admission.contract import NO_LIMITS, Band, Limits, Tenant
from spillway.admission.contract import Kind as CallKind
from spillway.admission.identity.keys import is_declaration
from spillway.admission.identity.records import tenant_id_problem
from spillway.configuration.values import Kind, Number, Several, Switch, Text, Whole
from spillway.errors import ConfigurationError
from spillway.settings import BrownoutStep, Settings, TenantSettings, TierSettings

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_A_DAY_S: Final = 86_400.0
_SHARE: Final = Number(0.01, 1000)
AMOUNT: Final = Whole(1, 10**12)
"""Of requests, tokens, or calls at once. To allow none, revoke the tenant."""
BANDS: Final = tuple(band.label for band in Band)


def name_problem(text: str) -> str | None:
    """Return what the name of a tier or a step must be, if `text` cannot be one."""
    if _NAME.fullmatch(text):
        return None
    return "a name: at most 64 small letters, digits and ._-, with a letter or digit first"


def _key_hash(text: str) -> str | None:
    return None if is_declaration(text) else "the hash of a key, as `spillway tenants key NAME --hash` prints it"


def _band(text: str) -> str | None:
    return None if text in BANDS else f"one of: {', '.join(BANDS)}"


_TIER: Final[dict[str, Kind]] = {
    "ttft_s": Number(0.001, _A_DAY_S),
    "tpot_s": Number(0.0001, _A_DAY_S),
    "bulk_ttft_s": Number(0.001, _A_DAY_S),
    "weight": _SHARE,
}
_LIMITS: Final[dict[str, Kind]] = {limit.name: AMOUNT for limit in fields(Limits)}
_TENANT: Final[dict[str, Kind]] = {
    "tier": Text(name_problem),
    "weight": _SHARE,
    "keys": Several(Text(_key_hash)),
    "models": Several(Text()),
    "bands": Several(Text(_band)),
    "default_band": Text(_band),
    **_LIMITS,
}
_STEP: Final[dict[str, Kind]] = {
    "name": Text(name_problem),
    "at": Number(0, 100),
    "tiers": Several(Text(name_problem)),
    "bands": Several(Text(_band)),
    "max_tokens": Whole(1, 10_000_000),
    "single_choice": Switch(),
    "no_logprobs": Switch(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantPart:
    """What the file says of a tenant, before it is known what its tier gives it."""

    tenant: Tenant
    """With an empty tier where none is named."""
    keys: tuple[str, ...] = ()
    has_weight: bool = False


def _read(table: Mapping[str, Any], kinds: Mapping[str, Kind], origin: str, *, what: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        place = f"{origin}.{key}"
        if key not in kinds:
            quoted = " A name with a dot in it is written in quotes." if isinstance(value, dict) else ""
            raise ConfigurationError(f"{place} is no setting of a {what}; there are: {', '.join(kinds)}.{quoted}")
        try:
            found[key] = kinds[key].from_file(value)
        except ValueError as error:
            raise ConfigurationError(f"{place} is {value!r}; it must be {error}") from None
    return found


def _check_name(name: str, problem: str | None, origin: str) -> None:
    if problem is not None:
        raise ConfigurationError(f"{origin}: the name is {name!r}; it must be {problem}")


def tier_from_file(name: str, table: dict[str, Any], origin: str) -> dict[str, float]:
    """Read `[tiers.NAME]`. Raises `ConfigurationError`, as all do here."""
    _check_name(name, name_problem(name), origin)
    return _read(table, _TIER, origin, what="tier")


def tenant_from_file(name: str, table: dict[str, Any], origin: str) -> TenantPart:
    """Read `[tenants.NAME]`, and in it `[tenants.NAME.KIND]`."""
    _check_name(name, tenant_id_problem(name), origin)
    by_kind: dict[CallKind, Limits] = {}
    for kind in CallKind:
        if isinstance(table.get(kind.value), dict):
            place = f"{origin}.{kind.value}"
            found = _read(table[kind.value], _LIMITS, place, what="kind of call")
            by_kind[kind] = _limits(found, place)
    own = {key: value for key, value in table.items() if key not in {kind.value for kind in by_kind}}
    found = _read(own, _TENANT, origin, what="tenant")
    tenant = Tenant(
        id=name,
        tier=found.get("tier", ""),
        weight=found.get("weight", 1.0),
        limits=_limits(found, origin),
        limits_by_kind=by_kind,
        models=found.get("models", ()),
    )
    if "bands" in found:
        bands = tuple(Band.of(label) for label in found["bands"])
        if not bands:
            raise ConfigurationError(f"{origin}.bands is []; it must name one at least of: {', '.join(BANDS)}")
        # Requests that ask for no band must get one that the tenant may have.
        default = Band.DEFAULT if Band.DEFAULT in bands else bands[0]
        tenant = replace(tenant, bands=bands, default_band=default)
    if "default_band" in found:
        tenant = replace(tenant, default_band=Band.of(found["default_band"]))
    if tenant.default_band not in tenant.bands:
        allowed = ", ".join(band.label for band in tenant.bands)
        raise ConfigurationError(
            f"{origin}.default_band is {tenant.default_band.label!r}; it must be one of the tenant's bands: {allowed}"
        )
    return TenantPart(tenant=tenant, keys=found.get("keys", ()), has_weight="weight" in found)


def _limits(found: Mapping[str, Any], origin: str) -> Limits:
    limits = replace(NO_LIMITS, **{name: found[name] for name in _LIMITS if name in found})
    if limits.request_burst is not None and limits.requests_per_minute is None:
        raise ConfigurationError(
            f"{origin}.request_burst is {limits.request_burst}; it is of requests_per_minute, which must be given, too"
        )
    return limits


def brownout_from_file(tables: object, origin: str) -> tuple[BrownoutStep, ...]:
    """Read `[[brownout]]`; an empty list is a ladder without steps."""
    if not isinstance(tables, list):
        raise ConfigurationError(f"{origin} is {tables!r}; it must be tables, each written [[brownout]]")
    return tuple(_step(table, f"{origin}[{place}]") for place, table in enumerate(tables))


def _step(table: object, origin: str) -> BrownoutStep:
    if not isinstance(table, dict):
        raise ConfigurationError(f"{origin} is {table!r}; it must be a table, written [[brownout]]")
    found = _read(table, _STEP, origin, what="step")
    for needed in ("name", "at"):
        if needed not in found:
            raise ConfigurationError(
                f"{origin} lacks {needed!r}; every step has a name and a pressure at which it begins"
            )
    step = BrownoutStep(**found)
    if step.max_tokens is None and not step.single_choice and not step.no_logprobs:
        raise ConfigurationError(f"{origin} changes nothing; give it max_tokens, single_choice or no_logprobs")
    return step


# ---- what all sources together make of it ----


def merged_tiers(said: list[Mapping[str, Mapping[str, float]]]) -> dict[str, TierSettings]:
    """Return the tiers that are there by themselves, changed and added to by what each source says."""
    tiers = dict(Settings().tiers)
    for source in said:
        for name, values in source.items():
            tiers[name] = replace(tiers.get(name, TierSettings()), **values)
    return tiers


def tenants_of(
    parts: Mapping[str, TenantPart], tiers: Mapping[str, TierSettings], default_tier: str
) -> tuple[TenantSettings, ...]:
    """Return the tenants with what their tiers give them; that these are there is for `checks` to say."""
    found = []
    for part in parts.values():
        tier = part.tenant.tier or default_tier
        weight = part.tenant.weight if part.has_weight or tier not in tiers else tiers[tier].weight
        found.append(TenantSettings(tenant=replace(part.tenant, tier=tier, weight=weight), keys=part.keys))
    return tuple(found)
