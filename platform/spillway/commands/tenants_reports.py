"""`spillway tenants list|usage|audit`: for people in columns, for programs as JSON or CSV."""

import csv
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from spillway.admission.contract import Tenant
from spillway.admission.identity.directory import Directory
from spillway.admission.identity.records import StoredKey
from spillway.admission.identity.usage import Usage, day_of, read_usage
from spillway.cli import Surroundings
from spillway.commands.tenants_place import Place, opened, span_s, stamp

_WIDTH: Final = 160
"""Columns where there is no terminal."""
_LIMITS: Final = {
    "requests_per_minute": "{:,} requests/min",
    "request_burst": "burst {:,}",
    "tokens_per_minute": "{:,} tokens/min",
    "max_concurrent": "{:,} at a time",
    "tokens_per_day": "{:,} tokens/day",
}


def show(given: Mapping[str, Any], around: Surroundings) -> int:
    """Show tenants and their keys; nobody sees a hash here."""
    with opened(given, around) as place:
        tenants = _tenants(place)
    if given["json"]:
        around.out.write(json.dumps({"tenants": tenants}, indent=2) + "\n")
        return 0
    if not tenants:
        around.out.write("there are no tenants: whoever reaches the API may use it; `spillway tenants add NAME`\n")
        return 0
    _print(around, ("tenant", "tier", "weight", "of", "state", "limits", "models", "bands"), map(_row, tenants))
    of_keys = [(tenant["id"], key) for tenant in tenants for key in tenant["keys"]]
    if of_keys:
        around.out.write("\n")
        rows = ((key["id"], name, _ending(key), key["created_at"] or "-", _state(key)) for name, key in of_keys)
        _print(around, ("key", "tenant", "ends in", "made", "state"), rows)
    return 0


def usage(given: Mapping[str, Any], around: Surroundings) -> int:
    """Show what was used."""
    since = day_of(time.time() - span_s(given["since"], "--since"))
    with opened(given, around) as place:
        rows = read_usage(place.store.database, since=since, tenant=given["tenant"])
    names = Usage.__struct_fields__
    if given["json"]:
        around.out.write(json.dumps({"usage": msgspec.to_builtins(rows)}, indent=2) + "\n")
    elif given["csv"]:
        writer = csv.writer(around.out, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(msgspec.structs.astuple(row) for row in rows)
    else:
        shown = ((*map(str, msgspec.structs.astuple(row)[:3]), *_counts(row)) for row in rows)
        _print(around, tuple(name.replace("_", " ") for name in names), shown)
    return 0


def audit(given: Mapping[str, Any], around: Surroundings) -> int:
    """Show every change."""
    with opened(given, around) as place:
        lines = place.store.audit()
    if given["json"]:
        shown = [{**msgspec.to_builtins(line), "at": stamp(line.at)} for line in lines]
        around.out.write(json.dumps({"audit": shown}, indent=2) + "\n")
    else:
        rows = ((stamp(line.at) or "", line.who, line.action, line.subject, _changed(line)) for line in lines)
        _print(around, ("when", "who", "what", "of", "change"), rows)
    return 0


def _tenants(place: Place) -> list[dict[str, Any]]:
    stored = place.store.snapshot()
    directory = Directory.of(place.settings, stored)
    declared = place.declared
    by_tenant: dict[str, list[dict[str, Any]]] = {}
    for name in sorted(directory.keys):
        known, record = directory.keys[name], stored.keys.get(name)
        shown = {
            "id": name,
            "last4": record.last4 if isinstance(record, StoredKey) and known.tenant_id not in declared else None,
            "created_at": stamp(record.created_at) if record is not None else None,
            "expires_at": stamp(known.expires_at),
            "revoked_at": stamp(known.revoked_at),
            "valid": known.is_valid(time.time()),
        }
        by_tenant.setdefault(known.tenant_id, []).append(shown)
    return [
        _tenant(directory.tenants[name], by_tenant.get(name, []), is_declared=name in declared)
        for name in sorted(directory.tenants)
    ]


def _tenant(tenant: Tenant, keys: list[dict[str, Any]], *, is_declared: bool) -> dict[str, Any]:
    return {
        "id": tenant.id,
        "tier": tenant.tier,
        "weight": tenant.weight,
        "declared": is_declared,
        "enabled": tenant.enabled,
        "limits": asdict(tenant.limits),
        "limits_by_kind": {kind.value: asdict(limits) for kind, limits in tenant.limits_by_kind.items()},
        "models": list(tenant.models),
        "bands": [band.label for band in tenant.bands],
        "default_band": tenant.default_band.label,
        "keys": keys,
    }


def _row(tenant: Mapping[str, Any]) -> tuple[str, ...]:
    limits = [_limits(tenant["limits"])]
    limits += [f"{kind}: {_limits(of_kind)}" for kind, of_kind in tenant["limits_by_kind"].items()]
    return (
        tenant["id"],
        tenant["tier"],
        f"{tenant['weight']:g}",
        "file" if tenant["declared"] else "store",
        "enabled" if tenant["enabled"] else "revoked",
        "; ".join(limits),
        ", ".join(tenant["models"]) or "all",
        ", ".join(f"{band}*" if band == tenant["default_band"] else band for band in tenant["bands"]),
    )


def _limits(limits: Mapping[str, int | None]) -> str:
    said = [_LIMITS[name].format(value) for name, value in limits.items() if value is not None]
    return ", ".join(said) or "none"


def _ending(key: Mapping[str, Any]) -> str:
    return "-" if key["last4"] is None else f"…{key['last4']}"


def _state(key: Mapping[str, Any]) -> str:
    if key["revoked_at"] is not None:
        return f"revoked {key['revoked_at']}"
    if key["expires_at"] is not None:
        return f"valid until {key['expires_at']}" if key["valid"] else f"expired {key['expires_at']}"
    return "valid"


def _counts(row: Usage) -> tuple[str, ...]:
    return f"{row.requests:,}", f"{row.prompt_tokens:,}", f"{row.output_tokens:,}"


def _changed(line: Any) -> str:
    """Return what differs, name by name."""
    before, after = _flat(line.before or {}), _flat(line.after or {})
    unseen = {"id", "changed", "switched"}
    names = [name for name in {**before, **after} if before.get(name) != after.get(name) and name not in unseen]
    return ", ".join(f"{name} {before.get(name, '-')} → {after.get(name, '-')}" for name in names)


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = stamp(value) if name.endswith("_at") and value is not None else value
    return found


def _print(around: Surroundings, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    console = Console(file=around.out)
    if not console.is_terminal:
        console.width = _WIDTH
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # not markup: a name may hold brackets
    console.print(table)
