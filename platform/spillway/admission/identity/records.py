"""Tenants and keys as they are stored and mirrored, and how two copies of them become one.

Hosts keep a store each, and may be changed at the same time. Nothing is ever deleted, so copies are merged row by row:
the later change of a row counts, and a revoked key stays revoked whatever another copy says::

    here    acme (change 4)    key A             key B revoked ┐
                                                               ├─▶ acme (change 6), A revoked, B revoked
    there   acme (change 6)    key A revoked     key B         ┘

The order of merging does not matter, nor how often it happens: all hosts end with the same.
"""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final, Protocol, TypeVar

import msgspec

from spillway.admission.contract import ANONYMOUS_ID, NO_LIMITS, Band, Kind, Limits, Tenant
from spillway.admission.identity.keys import Key

DEFAULT_BANDS: Final = (Band.INTERACTIVE, Band.DEFAULT, Band.BULK)
_TENANT_ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def tenant_id_problem(name: str) -> str | None:
    """Return what a tenant's name must be, if `name` cannot be one."""
    if name == ANONYMOUS_ID:
        return f"another name: {ANONYMOUS_ID!r} is who asks while no tenant is known"
    if _TENANT_ID.fullmatch(name):
        return None
    return "a tenant's name: at most 64 small letters, digits and ._-, with a letter or digit first"


class StoredTenant(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant that was made at run time."""

    id: str
    tier: str
    weight: float | None = None
    """None: its tier's."""
    limits: Limits = NO_LIMITS
    limits_by_kind: dict[Kind, Limits] = {}
    models: tuple[str, ...] = ()
    bands: tuple[Band, ...] = DEFAULT_BANDS
    default_band: Band = Band.DEFAULT
    enabled: bool = True
    switched: int = 0
    """The change that enabled or disabled it last: a new limit set elsewhere must not undo that."""
    changed: int = 0
    """The change that set all else."""

    def tenant(self, tier: str, weight: float) -> Tenant:
        """Return the tenant as admission knows it, with the tier and the weight that it gets now."""
        return Tenant(
            id=self.id,
            tier=tier,
            weight=weight,
            limits=self.limits,
            limits_by_kind=self.limits_by_kind,
            models=self.models,
            bands=self.bands,
            default_band=self.default_band,
            enabled=self.enabled,
        )


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was made at run time; times in seconds since 1970. Nothing of it changes but `revoked_at`."""

    id: str
    tenant_id: str
    digest: bytes
    last4: str
    """The last characters of the key, for people who compare."""
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def key(self) -> Key:
        """Return what identification needs."""
        return Key(
            id=self.id,
            tenant_id=self.tenant_id,
            digest=self.digest,
            expires_at=self.expires_at,
            revoked_at=self.revoked_at,
        )


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All of one copy, by id."""

    tenants: dict[str, StoredTenant] = {}
    keys: dict[str, StoredKey] = {}
    version: int = 0
    """Of the last change."""

    def digest(self) -> str:
        """Return what is the same for copies with the same rows."""
        rows = [self.tenants[name] for name in sorted(self.tenants)], [self.keys[name] for name in sorted(self.keys)]
        return sha256(msgspec.json.encode(rows, order="sorted")).hexdigest()


EMPTY: Final = Snapshot()


class _Row(Protocol):
    @property
    def id(self) -> str: ...


_AnyRow = TypeVar("_AnyRow", bound=_Row)


def by_id(rows: Iterable[_AnyRow]) -> dict[str, _AnyRow]:
    """Return rows by their ids."""
    return {row.id: row for row in rows}


def merge(one: Snapshot, other: Snapshot) -> Snapshot:
    """Return what both copies know together."""
    tenants, keys = dict(one.tenants), dict(one.keys)
    for tenant in other.tenants.values():
        mine = tenants.get(tenant.id)
        tenants[tenant.id] = tenant if mine is None else _merged_tenant(mine, tenant)
    for key in other.keys.values():
        known = keys.get(key.id)
        keys[key.id] = key if known is None else _merged_key(known, key)
    return Snapshot(tenants=tenants, keys=keys, version=max(one.version, other.version))


def news(known: Mapping[str, _AnyRow], merged: Mapping[str, _AnyRow]) -> list[_AnyRow]:
    """Return the rows of `merged` that are new or other than in `known`."""
    return [row for row in merged.values() if known.get(row.id) != row]


def _merged_tenant(one: StoredTenant, other: StoredTenant) -> StoredTenant:
    if one == other:
        return one
    latest = max(one, other, key=_order_of_tenant)
    # Of two that switched at once, disabled counts: who revokes has a reason.
    switched, disabled = max((one.switched, not one.enabled), (other.switched, not other.enabled))
    return msgspec.structs.replace(latest, switched=switched, enabled=not disabled)


def _order_of_tenant(tenant: StoredTenant) -> tuple[int, bytes]:
    """The later change; between changes of the same number an order that is everywhere the same."""
    plain = msgspec.structs.replace(tenant, switched=0, enabled=True)
    return tenant.changed, msgspec.json.encode(plain, order="sorted")


def _merged_key(one: StoredKey, other: StoredKey) -> StoredKey:
    if one == other:
        return one
    times = [key.revoked_at for key in (one, other) if key.revoked_at is not None]
    return msgspec.structs.replace(max(one, other, key=_order_of_key), revoked_at=min(times, default=None))


def _order_of_key(key: StoredKey) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(key, revoked_at=None), order="sorted")
