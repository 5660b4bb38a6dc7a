"""`spillway tenants add|key|limit|revoke`: what the arguments mean, and what is printed."""

import os
import time
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final

from spillway.admission.contract import NO_LIMITS, Band, Kind, Limits
from spillway.admission.identity import changes, keys
from spillway.admission.identity.records import StoredTenant, tenant_id_problem
from spillway.cli import Surroundings
from spillway.commands.tenants_place import opened, span_s, stamp
from spillway.configuration import did_you_mean
from spillway.configuration.values import Number
from spillway.errors import UsageError
from spillway.settings import Settings

_WEIGHT: Final = Number(0.01, 1000)
_NONE: Final = "none"


def add(given: Mapping[str, Any], around: Surroundings) -> int:
    """Make a tenant, and print its first key."""
    name = _name(given["name"])
    with opened(given, around) as place:
        place.refuse_declared(name)
        limits = _limits(given)
        if limits.get("request_burst") is not None and limits.get("requests_per_minute") is None:
            raise UsageError("a burst is of requests per minute: give --rpm, too")
        attributes = _attributes(given, place.settings)
        tier = attributes.pop("tier", place.settings.admission.anonymous_tier)
        plain = StoredTenant(id=name, tier=tier, limits=replace(NO_LIMITS, **limits))
        tenant = changes.with_attributes(plain, attributes)
        text, expires_at = keys.new_key(os.urandom), _expires_at(given)
        record = changes.new_key(text, name, now=time.time(), expires_at=expires_at)
        place.edit(lambda edit: changes.add(edit, tenant, record))
    around.err.write(f"made the tenant {name} (tier {tier}){_said_of_key(record.id, expires_at)}\n")
    around.out.write(f"{text}\n")
    return 0


def key(given: Mapping[str, Any], around: Surroundings) -> int:
    """Make another key, and print it; or its hash alone."""
    name = _name(given["name"])
    text, expires_at = keys.new_key(os.urandom), _expires_at(given)
    if given["hash"]:
        if expires_at is not None:
            raise UsageError("--expires is no part of a hash in the file: take the hash out of the file when it ends")
        around.err.write(f"the key, shown this once: {text}\nits hash, for keys of [tenants.{name}]:\n")
        around.out.write(f"{keys.declaration(text)}\n")
        return 0
    with opened(given, around) as place:
        place.refuse_declared(name)
        record = changes.new_key(text, name, now=time.time(), expires_at=expires_at)
        place.edit(lambda edit: changes.add_key(edit, record))
    around.err.write(f"made a key of {name}{_said_of_key(record.id, expires_at)}\n")
    around.out.write(f"{text}\n")
    return 0


def limit(given: Mapping[str, Any], around: Surroundings) -> int:
    """Change limits and attributes."""
    name = _name(given["name"])
    with opened(given, around) as place:
        place.refuse_declared(name)
        limits, attributes = _limits(given), _attributes(given, place.settings)
        kind = None if given["kind"] is None else Kind(given["kind"])
        if not limits and not attributes:
            raise UsageError("say what to change, such as --rpm 600, or --tpm none; see spillway tenants limit --help")
        if kind is not None and not limits:
            raise UsageError(f"--kind {kind} limits calls of one kind: give a limit, such as --rpm 60")
        place.edit(lambda edit: changes.limit(edit, name, limits=limits, kind=kind, attributes=attributes))
    around.out.write(f"changed the tenant {name}\n")
    return 0


def revoke(given: Mapping[str, Any], around: Surroundings) -> int:
    """End a tenant or a key."""
    what = str(given["what"]).removeprefix("key:")
    key_id = keys.public_id(what) or what
    with opened(given, around) as place:
        place.refuse_declared(key_id)
        if tenant_id_problem(what) is None:  # the ids of keys are capitals
            ended = place.edit(lambda edit: changes.revoke_tenant(edit, what))
            around.out.write(f"revoked the tenant {what} and {ended} of its keys\n")
        else:
            record = place.edit(lambda edit: changes.revoke_key(edit, key_id))
            around.out.write(f"revoked the key {key_id} of {record.tenant_id}\n")
    return 0


def _said_of_key(key_id: str, expires_at: float | None) -> str:
    until = "" if expires_at is None else f", valid until {stamp(expires_at)}"
    return f"; its key {key_id}{until} is shown this once:"


def _name(text: str) -> str:
    problem = tenant_id_problem(text)
    if problem is not None:
        raise UsageError(f"the name is {text!r}; it must be {problem}")
    return text


def _limits(given: Mapping[str, Any]) -> dict[str, int | None]:
    return {limit.name: given[limit.name] for limit in fields(Limits) if limit.name in given}


def _attributes(given: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return what was given of a tenant besides limits; models may be served by flags that nobody here knows."""
    found: dict[str, Any] = {}
    if given["tier"] is not None:
        if given["tier"] not in settings.tiers:
            hint = did_you_mean(given["tier"], settings.tiers) or f"; there are: {', '.join(settings.tiers)}"
            raise UsageError(f"--tier is {given['tier']!r}, which is not there{hint}")
        found["tier"] = given["tier"]
    if given["weight"] is not None:
        try:
            found["weight"] = None if given["weight"] == _NONE else _WEIGHT.from_text(given["weight"])
        except ValueError as error:
            raise UsageError(f"--weight is {given['weight']!r}; it must be {error}, or none") from None
    if given["models"] is not None:
        found["models"] = () if given["models"] == [_NONE] else tuple(dict.fromkeys(given["models"]))
    if given["bands"] is not None:
        found["bands"] = tuple(sorted({Band.of(label) for label in given["bands"]}))
    if given["default_band"] is not None:
        found["default_band"] = Band.of(given["default_band"])
    return found


def _expires_at(given: Mapping[str, Any]) -> float | None:
    return None if given["expires"] is None else time.time() + span_s(given["expires"], "--expires")
