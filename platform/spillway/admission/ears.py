"""What the door hears of the pool: a `PoolObserver` that knows which prompts are of one request."""

from collections.abc import Iterable

from spillway.admission.door import Door
from spillway.pool.journal import Entry


class PoolEars:
    """Of one gateway; made before its pool, which it is given to."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self._request_of: dict[str, str] = {}
        """Of requests with several prompts: each prompt's id, and the request's."""

    def group(self, request_id: str, work_ids: Iterable[str]) -> None:
        """Have what happens to any of several prompts count for the request that they are of."""
        self._request_of.update((work_id, request_id) for work_id in work_ids if work_id != request_id)

    def ungroup(self, work_ids: Iterable[str]) -> None:
        """Forget them again."""
        for work_id in work_ids:
            self._request_of.pop(work_id, None)

    def dispatched(self, entry: Entry, now: float) -> None:
        """An engine has it."""
        self.door.dispatched(self._of(entry), now, entry.attempts[-1].engine_id if entry.attempts else None)

    def first_token(self, entry: Entry, now: float) -> None:
        """Its first token came."""
        self.door.first_token(self._of(entry), now)

    def _of(self, entry: Entry) -> str:
        return self._request_of.get(entry.request_id, entry.request_id)
