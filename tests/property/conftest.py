"""Fixtures of the property tests: the doubles of `tests/fakes`, which is no package, as modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FAKES = Path(__file__).parents[1] / "fakes"


@pytest.fixture(scope="session")
def verifying_runner() -> ModuleType:
    """A runner that checks everything it is asked."""
    spec = importlib.util.spec_from_file_location("verifying_runner", FAKES / "verifying_runner.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pool_world() -> ModuleType:
    """A pool's core with engines that know every token, a clock and readers."""
    spec = importlib.util.spec_from_file_location("fake_pool_world", FAKES / "fake_pool_world.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def gateway_house() -> ModuleType:
    """A gateway with a pool that answers as its test says."""
    return load("fake_pool")


@pytest.fixture(scope="session")
def asgi() -> ModuleType:
    """A client without a network."""
    return load("asgi_client")
