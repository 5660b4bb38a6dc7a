"""The copy of all tenants that a gateway decides on: immutable, made anew when settings or the store change."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from spillway.admission.contract import ANONYMOUS_ID, Tenant
from spillway.admission.identity import keys
from spillway.admission.identity.keys import Key
from spillway.admission.identity.records import EMPTY, Snapshot
from spillway.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """Tenants by id, and keys by public id."""

    tenants: Mapping[str, Tenant]
    keys: Mapping[str, Key]
    anonymous: Tenant
    version: int = 0
    """Of the stored ones."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What an operator should know."""

    @property
    def has_tenants(self) -> bool:
        """Whether anybody is known, so that one has to say who one is. A revoked tenant counts: it closed nothing."""
        return bool(self.tenants)

    @classmethod
    def of(cls, settings: Settings, stored: Snapshot = EMPTY) -> "Directory":
        """Put together what the settings declare and what is stored; a declared tenant is the file's alone.

        A stored tenant whose tier is not configured any more gets the one of least weight: nobody is locked out by a
        change of the file, and nobody rises by it.
        """
        tenants: dict[str, Tenant] = {}
        known: dict[str, Key] = {}
        notes: list[str] = []
        least = min(settings.tiers, key=lambda name: (settings.tiers[name].weight, name))
        for record in stored.tenants.values():
            tier = record.tier
            if tier not in settings.tiers:
                notes.append(f"tenant {record.id} has the tier {tier}, which is not configured: it gets {least}")
                tier = least
            weight = settings.tiers[tier].weight if record.weight is None else record.weight
            tenants[record.id] = record.tenant(tier, weight)
        known |= {key.id: key.key() for key in stored.keys.values()}
        declared = {each.tenant.id for each in settings.tenants}
        both = sorted(declared & tenants.keys())
        notes += [f"tenant {name} is stored and declared: the declaration counts" for name in both]
        known = {name: key for name, key in known.items() if key.tenant_id not in declared}
        for each in settings.tenants:
            tenants[each.tenant.id] = each.tenant
            known |= {key.id: key for key in (keys.declared(text, each.tenant.id) for text in each.keys)}
        return cls(
            tenants=MappingProxyType(tenants),
            keys=MappingProxyType(known),
            anonymous=_anonymous(settings),
            version=stored.version,
            notes=tuple(notes),
        )

    def __repr__(self) -> str:
        return f"Directory({len(self.tenants)} tenants, {len(self.keys)} keys, version {self.version})"


def _anonymous(settings: Settings) -> Tenant:
    tier = settings.admission.anonymous_tier
    return replace(Tenant(id=ANONYMOUS_ID, tier=tier), weight=settings.tiers[tier].weight)
