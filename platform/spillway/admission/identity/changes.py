"""What may be done to stored tenants, each as one edit of the store. Raises `UsageError` for what cannot be done.

::

    add ──▶ enabled ──revoke──▶ disabled, all its keys revoked for good ──add──▶ enabled, with a new key

Nothing is deleted: who was let in, and until when, can always be told.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from spillway.admission.contract import NO_LIMITS, Kind, Limits
from spillway.admission.identity import keys
from spillway.admission.identity.records import StoredKey, StoredTenant
from spillway.admission.identity.store import Edit
from spillway.errors import UsageError


def add(edit: Edit, tenant: StoredTenant, key: StoredKey) -> None:
    """Add a tenant with its first key; one that was revoked begins anew, and its old keys stay revoked."""
    before = edit.before.tenants.get(tenant.id)
    if before is not None and before.enabled:
        raise UsageError(f"there is a tenant {tenant.id!r} already; `spillway tenants limit {tenant.id}` changes it")
    fresh = msgspec.structs.replace(tenant, enabled=True, switched=edit.version, changed=edit.version)
    edit.put_tenant("add tenant", fresh)
    edit.put_key("add key", key)


def add_key(edit: Edit, key: StoredKey) -> None:
    """Add another key: rotation is this, then `revoke_key` of the old one when nobody uses it any more."""
    if not _known(edit, key.tenant_id).enabled:
        raise UsageError(f"the tenant {key.tenant_id!r} is revoked; `spillway tenants add {key.tenant_id}` begins anew")
    edit.put_key("add key", key)


def new_key(text: str, tenant_id: str, *, now: float, expires_at: float | None) -> StoredKey:
    """Return the record of the key `text`."""
    public = keys.public_id(text)
    if public is None:
        raise ValueError("not an API key of Spillway")
    return StoredKey(
        id=public,
        tenant_id=tenant_id,
        digest=keys.digest_of(text),
        last4=text[-4:],
        created_at=now,
        expires_at=expires_at,
    )


def limit(
    edit: Edit, name: str, *, limits: Mapping[str, int | None], kind: Kind | None, attributes: Mapping[str, Any]
) -> StoredTenant:
    """Change limits (of all calls, or of one kind) by their names in `Limits`, and attributes of the tenant."""
    tenant = _known(edit, name)
    if limits and kind is None:
        tenant = msgspec.structs.replace(tenant, limits=_limited(tenant.limits, limits))
    elif limits and kind is not None:
        of_kind = _limited(tenant.limits_by_kind.get(kind, NO_LIMITS), limits)
        others = {each: limits for each, limits in tenant.limits_by_kind.items() if each is not kind}
        by_kind = {**others, kind: of_kind} if of_kind != NO_LIMITS else others
        tenant = msgspec.structs.replace(tenant, limits_by_kind=by_kind)
    tenant = msgspec.structs.replace(with_attributes(tenant, attributes), changed=edit.version)
    edit.put_tenant("limit", tenant)
    return tenant


def with_attributes(tenant: StoredTenant, attributes: Mapping[str, Any]) -> StoredTenant:
    """Return the tenant with other attributes; requests that ask for no band get one that it may have."""
    tenant = msgspec.structs.replace(tenant, **attributes)
    if tenant.default_band in tenant.bands:
        return tenant
    if "default_band" not in attributes:
        return msgspec.structs.replace(tenant, default_band=tenant.bands[0])
    bands = ", ".join(band.label for band in tenant.bands)
    raise UsageError(
        f"the default band is {tenant.default_band.label!r}; it must be one of the tenant's bands: {bands}"
    )


def _limited(before: Limits, given: Mapping[str, int | None]) -> Limits:
    after = replace(before, **given)
    if after.request_burst is not None and after.requests_per_minute is None:
        if given.get("request_burst") is not None:
            raise UsageError("a burst is of requests per minute: give --rpm, too")
        after = replace(after, request_burst=None)  # lifted with the limit that it belonged to
    return after


def revoke_tenant(edit: Edit, name: str) -> int:
    """Disable a tenant and revoke its keys; return how many of them were valid."""
    tenant = _known(edit, name)
    if not tenant.enabled:
        raise UsageError(f"the tenant {name!r} is revoked already")
    valid = [key for key in edit.before.keys.values() if key.tenant_id == name and key.revoked_at is None]
    for key in valid:
        edit.put_key("revoke key", msgspec.structs.replace(key, revoked_at=edit.now))
    edit.put_tenant("revoke tenant", msgspec.structs.replace(tenant, enabled=False, switched=edit.version))
    return len(valid)


def revoke_key(edit: Edit, key_id: str) -> StoredKey:
    """Revoke one key; return it."""
    key = edit.before.keys.get(key_id)
    if key is None:
        raise UsageError(f"there is no key {key_id!r}; `spillway tenants list` shows them")
    if key.revoked_at is not None:
        raise UsageError(f"the key {key_id!r} is revoked already")
    edit.put_key("revoke key", msgspec.structs.replace(key, revoked_at=edit.now))
    return key


def _known(edit: Edit, name: str) -> StoredTenant:
    tenant = edit.tenant(name)
    if tenant is None:
        raise UsageError(f"there is no tenant {name!r}; `spillway tenants list` shows them")
    return tenant
