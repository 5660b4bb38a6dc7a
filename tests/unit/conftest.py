"""Fixtures of the unit tests: the doubles of `tests/fakes`, which is no package, as modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FAKES = Path(__file__).parents[1] / "fakes"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FAKES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fake_core() -> ModuleType:
    """A core whose runner counts instead of computing, with a clock and a client."""
    return load("fake_core")


@pytest.fixture(scope="session")
def fake_steps() -> ModuleType:
    """Schedulers to try rules on."""
    return load("fake_steps")
