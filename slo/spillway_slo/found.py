"""One document of a file, and where it stands."""

from dataclasses import dataclass
from typing import Any

from spillway_slo.openslo import Document


@dataclass(frozen=True, slots=True)
class Found:
    """`spec` is of the type that `openslo.SPECS` has for its kind."""

    place: str
    """File, number and name; what every error begins with."""
    head: Document
    spec: Any
