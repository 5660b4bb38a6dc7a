"""What the doctor says of machines that lack something, and that it says nothing of one that does not."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from spillway.cli import Surroundings, main
from spillway.doctor import Level, can_serve, examine
from spillway.machine_facts import Facts, Gpu, RunningInstance, gather, parse_nvidia_smi, torch_cuda
from spillway.settings import NetworkSettings, Settings

HEALTHY = Facts(
    system="Linux",
    python=(3, 11),
    missing_packages=(),
    redis_url=None,
    redis_server="/usr/bin/redis-server",
    open_files=(65_536, 65_536),
    num_cores=4,
    memory_bytes=8 * 2**30,
    shared_memory_bytes=2**30,
    clock_source="tsc",
    somaxconn=4096,
    backlog=2048,
    device="auto",
    gpu_devices=0,
    gpu=None,
    torch="2.13.0+cpu",
    torch_cuda=None,
    port_problems={},
    state_problem=None,
    kernel_cache="/cache",
    num_kernels=10,
)
H200 = Gpu(names=("NVIDIA H200",), driver="570.1", cuda=(12, 8))


def test_nothing_is_to_be_done_on_a_healthy_machine() -> None:
    findings = examine(HEALTHY)

    assert {finding.level for finding in findings} == {Level.OK}
    assert can_serve(findings)


@pytest.mark.parametrize(
    ("change", "name", "mend"),
    [
        ({"python": (3, 10)}, "python", "install Python 3.11"),
        ({"missing_packages": ("torch",)}, "packages", "make setup"),
        ({"port_problems": {8000: "port 8000 is taken"}}, "ports", "--port"),
        ({"state_problem": "cannot be written"}, "state folder", "--state-dir"),
        ({"memory_bytes": 2**29}, "memory", "2 GiB"),
        ({"open_files": (256, 4096)}, "file descriptors", "ulimit -n 4096"),
        ({"device": "cuda"}, "gpu", "--device cpu"),
        ({"device": "cuda", "gpu": H200}, "gpu", "pip install --force-reinstall torch"),
        ({"device": "cuda", "gpu": H200, "torch": "2.13.0", "torch_cuda": (13, 0)}, "gpu", "whl/cu128"),
    ],
)
def test_what_is_essential_is_missing_and_has_a_remedy(change: dict[str, Any], name: str, mend: str) -> None:
    findings = examine(replace(HEALTHY, **change))

    (finding,) = [finding for finding in findings if finding.level is not Level.OK]
    assert (finding.name, finding.level) == (name, Level.MISSING)
    assert mend in finding.mend
    assert not can_serve(findings)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"system": "Darwin"}, "system"),
        ({"memory_bytes": 3 * 2**29}, "memory"),
        ({"num_cores": 1}, "cores"),
        ({"redis_server": None}, "redis"),
        ({"num_kernels": 0}, "kernels"),
        ({"open_files": (1024, -1)}, "file descriptors"),
        ({"somaxconn": 128}, "backlog"),
        ({"shared_memory_bytes": None}, "shared memory"),
        ({"shared_memory_bytes": 2**20}, "shared memory"),
        ({"clock_source": "hpet"}, "clock source"),
        ({"gpu_devices": 1}, "gpu"),
        ({"gpu": H200}, "gpu"),
    ],
)
def test_what_only_makes_it_worse_is_advice(change: dict[str, Any], name: str) -> None:
    findings = examine(replace(HEALTHY, **change))

    (finding,) = [finding for finding in findings if finding.level is not Level.OK]
    assert (finding.name, finding.level) == (name, Level.ADVICE)
    assert finding.mend
    assert can_serve(findings)


@pytest.mark.parametrize(
    "change",
    [
        {"redis_server": None, "redis_url": "redis://elsewhere"},
        {"open_files": (-1, -1)},
        {"device": "cpu", "gpu": H200},
        {"gpu": H200, "torch": "2.13.0+cu126", "torch_cuda": (12, 6)},
        {"gpu": H200, "torch": "2.13.0+cu129", "torch_cuda": (12, 9)},
        {"memory_bytes": None, "clock_source": None, "somaxconn": None},
    ],
)
def test_what_is_in_order_is_not_complained_of(change: dict[str, Any]) -> None:
    assert {finding.level for finding in examine(replace(HEALTHY, **change))} == {Level.OK}


RUNNING = RunningInstance(pid=4711, ports=frozenset({8000, 8001}))


@pytest.mark.parametrize(
    ("taken", "running", "level", "found"),
    [
        ((8000, 8001), RUNNING, Level.OK, "Spillway runs there: process 4711 listens on 8000 and 8001"),
        ((8001,), RUNNING, Level.OK, "Spillway runs there: process 4711 listens on 8001"),
        ((8000, 9001), RUNNING, Level.MISSING, "9001 is taken"),
        ((8000, 8001), None, Level.MISSING, "8000 is taken; 8001 is taken"),
        ((), RUNNING, Level.OK, "free"),
    ],
)
def test_a_port_that_spillway_itself_has_is_none_to_worry_about(
    taken: tuple[int, ...], running: RunningInstance | None, level: Level, found: str
) -> None:
    facts = replace(HEALTHY, port_problems={port: f"{port} is taken" for port in taken}, running=running)

    (finding,) = [finding for finding in examine(facts) if finding.name == "ports"]
    assert (finding.level, finding.found) == (level, found)
    assert bool(finding.mend) == (level is Level.MISSING)


@pytest.mark.parametrize(
    ("version", "needs", "cuda"),
    [
        (None, [], None),
        ("2.13.0+cpu", ["nvidia-cuda-runtime==13.0.96"], None),
        ("2.13.0+cu130", [], (13, 0)),
        ("2.11.0+cu128", [], (12, 8)),
        ("2.13.0", ["filelock", 'nvidia-cuda-runtime==13.0.96; platform_system == "Linux"'], (13, 0)),
        ("2.11.0", ['nvidia-cuda-runtime-cu12==12.8.90; platform_system == "Linux"'], (12, 8)),
        ("2.11.0", ["nvidia-cuda-runtime-cu12"], (12, 0)),
        ("2.13.0", ["filelock"], None),
        ("2.13.0+rocm6.4", [], None),
    ],
)
def test_the_cuda_of_torch_is_read_from_its_metadata(
    version: str | None, needs: list[str], cuda: tuple[int, int] | None
) -> None:
    assert torch_cuda(version, needs) == cuda


def test_nvidia_smi_is_read() -> None:
    listing = "NVIDIA H200, 570.124.06\nNVIDIA H100, 80GB, 570.124.06\n"
    overview = "| NVIDIA-SMI 570.124.06    Driver Version: 570.124.06    CUDA Version: 12.8     |\n"

    assert parse_nvidia_smi(listing, overview) == Gpu(
        names=("NVIDIA H200", "NVIDIA H100, 80GB"), driver="570.124.06", cuda=(12, 8)
    )
    assert parse_nvidia_smi("NVIDIA H200, 1.2\n", "nothing of the kind") == Gpu(
        names=("NVIDIA H200",), driver="1.2", cuda=None
    )
    assert parse_nvidia_smi("No devices were found\n", "") is None


def test_this_machine_is_looked_at_and_left_as_it_was(tmp_path: Path) -> None:
    state = tmp_path / "state"
    network = NetworkSettings(port=0, ops_port=0)

    facts = gather(Settings(state_dir=str(state), network=network), {"NUMBA_CACHE_DIR": str(tmp_path)})

    assert (facts.missing_packages, facts.port_problems, facts.state_problem) == ((), {}, None)
    assert (facts.kernel_cache, facts.num_kernels) == (str(tmp_path), 0)
    assert not state.exists()


def test_the_command_prints_findings_and_its_status_tells_whether_serve_would_start(tmp_path: Path) -> None:
    out = StringIO()
    around = Surroundings(environment={}, folder=tmp_path, out=out, err=StringIO())
    (tmp_path / "file").write_text("")

    main(["doctor", "--json", "--port", "0", "--ops-port", "0", "--state-dir", str(tmp_path)], around)
    findings = {finding["name"]: finding["level"] for finding in json.loads(out.getvalue())["findings"]}
    assert findings["ports"] == findings["state folder"] == "ok"

    out.truncate(0)
    key = tmp_path / "admin.key"
    key.write_text("0" * 64)
    key.chmod(0o644)
    assert main(["doctor", "--port", "0", "--ops-port", "0", "--state-dir", str(tmp_path)], around) == 1
    assert "MISSING  state folder" in out.getvalue()
    assert f"chmod 600 {key}" in out.getvalue()
