"""One Spillway for all end-to-end tests of the platform: the demo model on two engines, started as a user would."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from spillway.bench.kills import PATIENT
from spillway.bench.served import Served


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="spillway-e2e-") as folder:
        instance = Served.start("--engines", "2", "--chaos", "--drain-grace-s", "0", *PATIENT, folder=Path(folder))
        try:
            yield instance
        finally:
            instance.end()
