"""A scrape as numbers: what two of them differ by, and what has gone backwards. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]

_ONLY_GROWS: Final = frozenset({"counter", "histogram"})
_BUCKET: Final = "_bucket"
_EDGE: Final = "le"


@dataclass(frozen=True, slots=True)
class Scraped:
    """The samples of one scrape, by name and labels."""

    samples: Mapping[str, Mapping[Labels, float]]
    growing: frozenset[str]
    """Names of samples that must never become less: of counters and histograms."""

    @classmethod
    def read(cls, text: str) -> "Scraped":
        """Read Prometheus's text format. Raises ValueError."""
        samples: dict[str, dict[Labels, float]] = defaultdict(dict)
        growing: set[str] = set()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples[sample.name][frozenset(sample.labels.items())] = sample.value
                if family.type in _ONLY_GROWS:
                    growing.add(sample.name)
        return cls(dict(samples), frozenset(growing))

    def total(self, name: str, **where: str) -> float:
        """Return the sum of a name's series that bear these labels; 0 where there is none."""
        wanted = where.items()
        return sum(value for labels, value in self.samples.get(name, {}).items() if wanted <= dict(labels).items())

    def by(self, name: str, *keys: str, **where: str) -> dict[tuple[str, ...], float]:
        """Return the sums of a name's series by the values of some labels; an absent label is empty."""
        found: dict[tuple[str, ...], float] = defaultdict(float)
        for labels, value in self.samples.get(name, {}).items():
            known = dict(labels)
            if where.items() <= known.items():
                found[tuple(known.get(key, "") for key in keys)] += value
        return dict(found)

    def buckets(self, name: str, **where: str) -> dict[float, float]:
        """Return a histogram's counts by upper edge, each with all below it; `name` is without `_bucket`."""
        found = self.by(name + _BUCKET, _EDGE, **where)
        return {edge: found[key] for edge, key in sorted((float(key[0]), key) for key in found)}

    def minus(self, before: "Scraped") -> "Scraped":
        """Return what has come since: the difference of what only grows, and the rest as it is."""
        return Scraped(
            {
                name: {
                    labels: value - (before.samples.get(name, {}).get(labels, 0.0) if name in self.growing else 0.0)
                    for labels, value in series.items()
                }
                for name, series in self.samples.items()
            },
            self.growing,
        )

    def fallen(self, before: "Scraped") -> Iterator[str]:
        """Yield what has become less since, or has vanished, though it may only grow."""
        for name in sorted(before.growing):
            after = self.samples.get(name, {})
            for labels, value in before.samples[name].items():
                now = after.get(labels)
                if now is None or now < value:
                    said = ",".join(f"{key}={text}" for key, text in sorted(labels))
                    yield f"{name}{{{said}}}: {value:g}, then {'nothing' if now is None else f'{now:g}'}"
