"""What the platform counts, as a scrape says it."""

from collections.abc import Mapping
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

Samples = Mapping[str, Mapping[tuple[tuple[str, str], ...], float]]
NAME_OF_OUTCOMES: Final = "spillway_outcomes_total"


def read(text: str) -> Samples:
    """Return all samples by name, and by their labels in order of name."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def total(samples: Samples, name: str, **labels: str) -> float:
    """Return the sum of a metric over all series with these labels; 0 if there are none."""
    wanted = set(labels.items())
    return sum(value for found, value in samples.get(name, {}).items() if wanted <= set(found))


def by_label(samples: Samples, name: str, label: str) -> dict[str, float]:
    """Return the sums by one label's value."""
    sums: dict[str, float] = {}
    for found, value in samples.get(name, {}).items():
        key = dict(found).get(label, "")
        sums[key] = sums.get(key, 0.0) + value
    return sums
