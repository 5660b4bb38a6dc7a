"""Who may import whom: the folders' order of dependence, read from the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "engine" / "spillway_engine"
WIRE = ROOT / "engine" / "spillway_wire"
TEXT = ROOT / "engine" / "spillway_text"
PLATFORM = ROOT / "platform" / "spillway"
SLO = ROOT / "slo" / "spillway_slo"
DASHBOARDS = ROOT / "dashboards" / "spillway_dashboards"
LOAD = ROOT / "loadtests" / "spillway_load"
CHAOS = ROOT / "chaos" / "spillway_chaos"
PURE = ("memory", "scheduling")
"""Folders that decide and do nothing else: no tensors, no sockets, no clock."""
CLIENTS_NEED = ("spillway_engine.client.engine_client", "spillway_engine.core", "spillway_engine.process.main")
TORCH_FREE = (*CLIENTS_NEED, "spillway_text.text", "spillway_text.folders", "spillway_text.stop")
SUPERVISED_BY = (
    "__init__.py",
    "admission/__init__.py",
    "admission/contract.py",
    "child.py",
    "errors.py",
    "runtime.py",
    "settings.py",
    "supervisor",
)
"""What the supervisor's process is made of: it stays small, and starts at once."""


def imports(file: Path) -> Iterator[str]:
    """The modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


def sources(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found
    return found


def test_wire_needs_only_the_standard_library_and_msgspec() -> None:
    allowed = {*sys.stdlib_module_names, "msgspec", "spillway_wire"}
    for file in sources(WIRE):
        assert {name.split(".")[0] for name in imports(file)} <= allowed, file


def test_text_needs_no_model() -> None:
    allowed = {*sys.stdlib_module_names, "huggingface_hub", "jinja2", "spillway_text", "tokenizers"}
    for file in sources(TEXT):
        assert {name.split(".")[0] for name in imports(file)} <= allowed, file


def test_the_platform_knows_no_engine_and_no_torch() -> None:
    strangers = {"torch", "transformers", "numba", "spillway_engine", "spillway_chaos", "spillway_load", "tests"}
    for file in sources(PLATFORM):
        assert not {name.split(".")[0] for name in imports(file)} & strangers, file


def test_the_supervisor_needs_only_the_standard_library_and_msgspec() -> None:
    allowed = {*sys.stdlib_module_names, "msgspec", "spillway_wire"}
    own = ["spillway." + name.removesuffix(".py").replace("/", ".") for name in SUPERVISED_BY if name != "__init__.py"]
    for place in SUPERVISED_BY:
        path = PLATFORM / place
        for file in sources(path) if path.is_dir() else [path]:
            for name in imports(file):
                of_ours = any(name == module or name.startswith(module + ".") for module in own)
                assert name.partition(".")[0] in allowed or of_ours, f"{file} imports {name}"


def test_the_engine_knows_no_platform() -> None:
    strangers = {"spillway", "spillway_slo", "spillway_chaos", "spillway_load", "spillway_dashboards", "tests"}
    for file in sources(ENGINE):
        assert not {name.split(".")[0] for name in imports(file)} & strangers, file


def test_objectives_know_only_the_wire() -> None:
    strangers = {"spillway", "spillway_engine", "spillway_text", "spillway_chaos", "spillway_load", "torch", "tests"}
    for file in sources(SLO):
        assert not {name.split(".")[0] for name in imports(file)} & strangers, file


def test_dashboards_know_only_the_catalogue_of_metrics() -> None:
    libraries = {"grafana_foundation_sdk", "promql_parser"}
    allowed = {*sys.stdlib_module_names, *libraries, "spillway_wire", "spillway_dashboards"}
    for file in sources(DASHBOARDS):
        assert {name.split(".")[0] for name in imports(file)} <= allowed, file


def test_load_speaks_http_and_knows_only_the_wire() -> None:
    ours = {"spillway", "spillway_engine", "spillway_text", "spillway_slo", "spillway_chaos", "torch", "tests"}
    for file in sources(LOAD):
        found = {name.split(".")[0] for name in imports(file)}
        assert not found & ours, file
        # Locust monkey-patches whatever imports it
        assert "locust" not in found or file.name in {"users.py", "locust_series.py", "locust_shape.py"}, file


def test_drills_know_spillway_from_outside() -> None:
    ours = {"spillway", "spillway_engine", "spillway_text", "spillway_load", "spillway_dashboards", "torch", "tests"}
    for file in sources(CHAOS):
        found = {name.split(".")[0] for name in imports(file)}
        assert not found & ours, file
        assert "chaoslib" not in found, file  # drills are its experiments, and need it not


def test_judging_asks_nobody() -> None:
    effects = {"httpx", "subprocess", "psutil", "socket", "os", "threading"}
    for file in sources(CHAOS / "judging"):
        assert not {name.split(".")[0] for name in imports(file)} & effects, file


@pytest.mark.parametrize("folder", PURE)
def test_decisions_have_no_tensors_sockets_or_clock(folder: str) -> None:
    effects = {"torch", "numpy", "numba", "asyncio", "socket", "time", "os", "random", "threading"}
    for file in sources(ENGINE / folder):
        assert not {name.split(".")[0] for name in imports(file)} & effects, file


@pytest.mark.parametrize("module", TORCH_FREE)
def test_torch_is_loaded_with_a_model_and_not_before(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_the_demo_model_is_found_without_the_engine() -> None:
    code = (
        "import sys; from spillway_text.folders import resolve_model; resolve_model('demo'); "
        "sys.exit('spillway_engine' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_source_roots_are_no_packages() -> None:
    for root in ("engine", "platform", "chaos", "loadtests", "slo", "dashboards"):
        assert not (ROOT / root / "__init__.py").exists()


def test_files_can_be_read_in_one_sitting() -> None:
    roots = (ROOT / "engine", ROOT / "platform", ROOT / "dashboards", SLO, LOAD, CHAOS)
    files = [file for root in roots for file in sources(root)]
    long = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in files}
    assert {name: lines for name, lines in long.items() if lines > 350} == {}
