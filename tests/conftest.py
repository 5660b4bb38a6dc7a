"""What all tests share: the doubles of `tests/fakes` as fixtures, and how tests are spread over processes.

pytest-xdist's own `xdist_group` marks do nothing with pytest 9.2 and xdist 3.8: they are written where pytest no longer
looks. Its hook for a scheduler of one's own does work.
"""

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

FAKES = Path(__file__).parent / "fakes"
SHARING = ("tests/e2e/test_platform_", "tests/e2e/test_console_")


def pytest_configure(config: pytest.Config) -> None:
    """Triton asks once, when it is first imported, whether it compiles for a GPU or interprets."""
    os.environ.setdefault("TRITON_INTERPRET", "0" if config.option.markexpr == "gpu" else "1")


class OneInstance(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Tests of the running platform are one unit of work; every other test is one of its own."""

    def _split_scope(self, nodeid: str) -> str:
        return "platform" if nodeid.startswith(SHARING) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneInstance:
    return OneInstance(config, log)


def load(name: str) -> ModuleType:
    """Import a module of `tests/fakes`, which is a package only here; its modules import each other as siblings."""
    package = sys.modules.setdefault("fakes", ModuleType("fakes"))
    package.__path__ = [str(FAKES)]
    return importlib.import_module(f"fakes.{name}")


# ---- the engine ----


@pytest.fixture(scope="session")
def fake_core() -> ModuleType:
    """A core whose runner counts instead of computing, with a clock and a client."""
    return load("fake_core")


@pytest.fixture(scope="session")
def cuda_on_cpu() -> ModuleType:
    """What runs the CUDA path without a GPU."""
    module = load("cuda_on_cpu")
    module.teach_bfloat16()
    return module


@pytest.fixture(scope="session")
def fake_steps() -> ModuleType:
    """Schedulers to try rules on."""
    return load("fake_steps")


@pytest.fixture(scope="session")
def verifying_runner() -> ModuleType:
    """A runner that checks everything it is asked."""
    return load("verifying_runner")


@pytest.fixture(scope="session")
def fake_engine() -> ModuleType:
    """An engine core without a model."""
    return load("fake_engine")


@pytest.fixture(scope="session")
def fake_engine_command() -> tuple[str, ...]:
    """The program that serves it in a process of its own."""
    return (sys.executable, str(FAKES / "fake_engine.py"))


@pytest.fixture(scope="session")
def serving() -> ModuleType:
    """What serves it in the test's own process."""
    return load("fake_serving")


# ---- the platform ----


@pytest.fixture(scope="session")
def pool_world() -> ModuleType:
    """A pool's core with engines that know every token, a clock and readers."""
    return load("fake_pool_world")


@pytest.fixture(scope="session")
def pool_checks() -> ModuleType:
    """What a request that has ended leaves behind in a pool's core: nothing."""
    return load("fake_pool_checks")


@pytest.fixture(params=["client_leaves", "reader_lags"])
def pool_leaving(request: pytest.FixtureRequest, pool_checks: ModuleType) -> Any:
    """Every way to end a request that an engine has."""
    return getattr(pool_checks, request.param)


@pytest.fixture(params=["client_leaves", "reader_lags", "deadline_passes"])
def pool_ending(request: pytest.FixtureRequest, pool_checks: ModuleType) -> Any:
    """Every way to end a request that waits."""
    return getattr(pool_checks, request.param)


@pytest.fixture
def pool_house(fake_engine: ModuleType, serving: ModuleType, tmp_path: Path) -> Any:
    """A real pool, and engines served in the test's own process."""
    return load("fake_pool_house").House(fake_engine, serving, tmp_path)


@pytest.fixture(scope="session")
def pool_children() -> ModuleType:
    """Engines in processes of their own, to be killed."""
    return load("fake_pool_children")


@pytest.fixture(scope="session")
def gateway_house() -> ModuleType:
    """A gateway with a pool that answers as its test says."""
    return load("fake_pool")


@pytest.fixture(scope="session")
def asgi() -> ModuleType:
    """A client without a network."""
    return load("asgi_client")


@pytest.fixture(scope="session")
def fake_supervisor() -> ModuleType:
    """A supervisor that says what the test wants, for the processes that it would start."""
    return load("fake_supervisor")


@pytest.fixture(scope="session")
def fake_runs() -> ModuleType:
    """Processes on paper and a clock that goes when told, for what supervises them."""
    return load("fake_runs")


@pytest.fixture(scope="session")
def instances() -> ModuleType:
    """Whole instances: the real supervisor with light children."""
    return load("fake_instance")


@pytest.fixture(scope="session")
def console_house() -> ModuleType:
    """The ops port with a supervisor on paper, for a browser."""
    return load("fake_console")


# ---- telemetry ----


@pytest.fixture(scope="session")
def fake_lives() -> ModuleType:
    """Requests' lives at random, for timelines and spans."""
    return load("fake_lives")


@pytest.fixture(scope="session")
def traced() -> ModuleType:
    """Requests through the pool's journal, with engines that die."""
    return load("fake_traced")


@pytest.fixture(scope="session")
def collectors() -> ModuleType:
    """Collectors that receive OTLP."""
    return load("fake_collector")


@pytest.fixture(scope="session")
def expositions() -> ModuleType:
    """All families of metrics there are, to be scraped."""
    return load("fake_exposition")


@pytest.fixture(scope="session")
def prometheus_server() -> ModuleType:
    """A real Prometheus."""
    return load("prometheus_server")


# ---- load ----


@pytest.fixture(scope="session")
def load_records() -> ModuleType:
    """Records of load on paper."""
    return load("load_records")


# ---- drills ----


@pytest.fixture(scope="session")
def fake_drill() -> ModuleType:
    """Evidence and journals of drills that never ran."""
    return load("fake_drill")
