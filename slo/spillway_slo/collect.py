"""Series as they are scraped → one ever-growing sum for each stream. Resets and new series are Prometheus'.

A counter that is lower than before began again at zero. Of a series that was not there before, the first value is where
counting begins: what it had counted by then belongs to a time that nobody watched.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from spillway_slo.objective import Stream


class Sample(NamedTuple):
    """One series at one moment."""

    metric: str
    """As exposed: of a histogram with `_bucket` or `_count`."""
    labels: tuple[tuple[str, str], ...]
    """Those of a bucket without `le`."""
    le: float | None
    value: float


Key = tuple[str, tuple[tuple[str, str], ...], float | None]
_NOWHERE: Final[tuple[int, ...]] = ()


class Collector:
    """Keeps the sums. Which series belong to which streams is found out once for each series."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._by_metric: dict[tuple[str, float | None], list[tuple[int, Stream]]] = {}
        for place, stream in enumerate(streams):
            self._by_metric.setdefault((stream.metric, stream.le), []).append((place, stream))
        self._places: dict[Key, tuple[int, ...]] = {}
        self._last: dict[Key, float] = {}
        self.sums = [0.0] * len(streams)
        self.seen = [False] * len(streams)
        """Whether any series of a stream was ever there."""

    @property
    def metrics(self) -> frozenset[str]:
        """What has to be scraped."""
        return frozenset(metric for metric, _ in self._by_metric)

    def observe(self, samples: Iterable[Sample]) -> None:
        """Take in one scrape."""
        for sample in samples:
            key: Key = (sample.metric, sample.labels, sample.le)
            places = self._places.get(key)
            if places is None:
                places = self._places[key] = self._find(sample)
            if not places:
                continue
            before = self._last.get(key)
            self._last[key] = sample.value
            grown = 0.0 if before is None else sample.value - before if sample.value >= before else sample.value
            for place in places:
                self.sums[place] += grown
                self.seen[place] = True

    def _find(self, sample: Sample) -> tuple[int, ...]:
        found = self._by_metric.get((sample.metric, sample.le))
        if found is None:
            return _NOWHERE
        labels = dict(sample.labels)
        return tuple(place for place, stream in found if stream.selects(labels))

    def last(self) -> list[tuple[str, tuple[tuple[str, str], ...], float | None, float]]:
        """Return the last value of every series, to go on from after a restart."""
        return [(*key, value) for key, value in self._last.items()]

    def resume(self, sums: Mapping[int, float], last: Iterable[tuple[Key, float]]) -> None:
        """Go on from where another one was."""
        for place, value in sums.items():
            self.sums[place] = value
            self.seen[place] = True
        self._last.update(last)
