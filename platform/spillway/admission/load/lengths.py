"""How long answers of one model get, by tenant: what is reserved for an answer before it is written."""

from collections import OrderedDict
from math import ceil
from typing import Final

from spillway.admission.load.quantile import RunningQuantile

SHARE: Final = 0.8
"""Four in five answers are no longer than what is reserved for them."""
WINDOW: Final = 64
MAX_TENANTS: Final = 1024
ENOUGH: Final = 4


class OutputLengths:
    """Learns from each answer that came to its end. Tenants that are not heard of for long make room for others."""

    def __init__(self) -> None:
        self._tenants: OrderedDict[str, RunningQuantile] = OrderedDict()
        self._everybody = RunningQuantile(SHARE, WINDOW)

    def learn(self, tenant_id: str, tokens: int) -> None:
        """Take in the length of one answer, in tokens."""
        own = self._tenants.get(tenant_id)
        if own is None:
            own = self._tenants[tenant_id] = RunningQuantile(SHARE, WINDOW)
            if len(self._tenants) > MAX_TENANTS:
                self._tenants.popitem(last=False)
        self._tenants.move_to_end(tenant_id)
        own.add(tokens)
        self._everybody.add(tokens)

    def likely(self, tenant_id: str, max_tokens: int) -> int:
        """Return how long the tenant's next answer probably gets; `max_tokens` as long as nobody has had one."""
        own = self._tenants.get(tenant_id)
        known = self._everybody.value if own is None or len(own) < ENOUGH else own.value
        return max_tokens if known is None else min(max_tokens, max(1, ceil(known)))
