"""Who is asked: the platform with one engine, or a peer's server. Between two runs both are left idle."""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from spillway.bench.books import is_idle
from spillway.bench.overload.configuration import Configuration
from spillway.bench.served import Served
from spillway.settings import Settings

IDLE_WITHIN_S: Final = 120.0


class Target(Protocol):
    """A server under test."""

    @property
    def name(self) -> str:
        """For tables."""

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""

    def wait_until_idle(self) -> None:
        """Return when nothing is left of the last run. Raises TimeoutError."""


@dataclass(frozen=True, slots=True)
class Platform:
    """Spillway."""

    served: Served
    name: str = "spillway"

    @property
    def address(self) -> tuple[str, int]:
        """Of the API."""
        return self.served.api

    def wait_until_idle(self) -> None:
        """See `Target`."""
        asyncio.run(self.served.until(is_idle, within_s=IDLE_WITHIN_S))


@contextmanager
def platform(model: str, name: str, configuration: Configuration, flags: Sequence[str] = ()) -> Iterator[Platform]:
    """Run `spillway serve` with one engine of `model`, served as `name`, in folders of its own."""
    with tempfile.TemporaryDirectory(prefix="spillway-overload-") as place:
        folder = Path(place)
        file = folder / "spillway.toml"
        file.write_text(configuration.text(Settings().tiers["gold"]), encoding="utf-8")
        served = Served.start(
            "--config", str(file), "--engines", "1", "--model", f"{name}={model}", *flags, folder=folder
        )
        try:
            yield Platform(served)
        finally:
            served.end()
