"""Fixtures of the property tests: the doubles of `tests/fakes`, which is no package, as modules."""

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
def verifying_runner() -> ModuleType:
    """A runner that checks everything it is asked."""
    return load("verifying_runner")


@pytest.fixture(scope="session")
def pool_world() -> ModuleType:
    """A pool's core with engines that know every token, a clock and readers."""
    return load("fake_pool_world")


@pytest.fixture(scope="session")
def gateway_house() -> ModuleType:
    """A gateway with a pool that answers as its test says."""
    return load("fake_pool")


@pytest.fixture(scope="session")
def asgi() -> ModuleType:
    """A client without a network."""
    return load("asgi_client")


@pytest.fixture(scope="session")
def fake_runs() -> ModuleType:
    """Processes on paper and a clock that goes when told, for what supervises them."""
    return load("fake_runs")
