"""Good answers before, during and after a fault, from the load's seconds."""

from collections.abc import Iterable

import msgspec

from spillway_chaos.stage.load import LoadResult, Second


class Goodput(msgspec.Struct, frozen=True, kw_only=True):
    """Good answers a second; None where the load had no whole second."""

    before: float | None
    during: float | None
    after: float | None
    served_during: float | None
    """Good answers during the fault, of those due then."""

    @property
    def ratio(self) -> float | None:
        """During the fault, as a part of before."""
        if self.before is None or self.during is None or not self.before:
            return None
        return self.during / self.before


def goodput(load: LoadResult, struck_at: float, ended_at: float | None) -> Goodput:
    """Split the load's seconds at the blow and at the fault's end, both of the monotonic clock.

    The first second, in which answers are only on their way, counts nowhere, nor do seconds after the last request was
    due; the blow's own second is of the fault, and so is that in which it ended.
    """
    due = [second for second in load.timeline if second.due]
    last = max((second.second for second in due), default=0)
    first = int(struck_at - load.started_monotonic)
    end = last if ended_at is None else int(ended_at - load.started_monotonic)
    usable = [second for second in load.timeline if 1 <= second.second <= last]
    during = [second for second in usable if first <= second.second <= end]
    return Goodput(
        before=_rate(second for second in usable if second.second < first),
        during=_rate(during),
        after=_rate(second for second in usable if second.second > end),
        served_during=_served(during),
    )


def _rate(seconds: Iterable[Second]) -> float | None:
    found = list(seconds)
    return sum(second.good for second in found) / len(found) if found else None


def _served(seconds: Iterable[Second]) -> float | None:
    found = list(seconds)
    due = sum(second.due for second in found)
    return sum(second.good for second in found) / due if due else None
