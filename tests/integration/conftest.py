"""Fixtures around the engine process: its core without a model, as a module and as a program."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

FAKES = Path(__file__).parents[1] / "fakes"


def load(name: str) -> ModuleType:
    """Import a module of `tests/fakes`, which is no package."""
    spec = importlib.util.spec_from_file_location(name, FAKES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fake_engine() -> ModuleType:
    """An engine core without a model."""
    return load("fake_engine")


@pytest.fixture(scope="session")
def serving() -> ModuleType:
    """What serves it in the test's own process."""
    return load("fake_serving")


@pytest.fixture
def fake_engine_command() -> tuple[str, ...]:
    """The program that serves it in one of its own."""
    return (sys.executable, str(FAKES / "fake_engine.py"))


@pytest.fixture(scope="session")
def fake_supervisor() -> ModuleType:
    """A supervisor that says what the test wants, for the processes that it would start."""
    return load("fake_supervisor")


@pytest.fixture(scope="session")
def gateway_house() -> ModuleType:
    """A gateway with a pool that answers as its test says."""
    return load("fake_pool")


@pytest.fixture(scope="session")
def asgi() -> ModuleType:
    """A client without a network."""
    return load("asgi_client")


@pytest.fixture(scope="session")
def instances() -> ModuleType:
    """Whole instances: the real supervisor with light children."""
    return load("fake_instance")


@pytest.fixture
def certificates(tmp_path: Path) -> Callable[[str], tuple[Path, Path]]:
    """Makes a certificate of that name, signed by itself: returns its file and that of its key."""

    def make(name: str) -> tuple[Path, Path]:
        certificate, key = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        named = [*openssl, "-subj", f"/CN={name}.example.com", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(named, check=True, capture_output=True)
        return certificate, key

    return make
