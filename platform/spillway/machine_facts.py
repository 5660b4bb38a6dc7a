"""What `spillway doctor` wants to know of this machine, gathered without changing it and without importing torch."""

import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from spillway.errors import SpillwayError, StartError
from spillway.settings import Settings
from spillway.state import StateFolder
from spillway.supervisor import devices, redis, sockets

REQUIRED: Final = ("msgspec", "numpy", "numba", "safetensors", "tokenizers", "torch", "transformers", "uvloop")
REQUIRED_BY_PLATFORM: Final = ("httptools", "litestar", "prometheus_client", "redis", "tenacity", "uvicorn")
_CUDA_RUNTIME: Final = re.compile(r"nvidia-cuda-runtime(?:-cu(\d+))?\s*(?:==\s*(\d+)\.(\d+))?")
_NVIDIA_SMI_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """What nvidia-smi says."""

    names: tuple[str, ...]
    driver: str
    cuda: tuple[int, int] | None
    """The newest CUDA that the driver runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningInstance:
    """A Spillway that runs already."""

    pid: int
    """Of its supervisor."""
    ports: frozenset[int]
    """On which it listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One machine, as it was found."""

    system: str
    python: tuple[int, int]
    missing_packages: tuple[str, ...]
    redis_url: str | None
    redis_server: str | None
    open_files: tuple[int, int]
    """Soft and hard limit of file descriptors."""
    num_cores: int
    memory_bytes: int | None
    """That can be taken now without swapping."""
    shared_memory_bytes: int | None
    """Free in /dev/shm; None: there is none."""
    clock_source: str | None
    somaxconn: int | None
    backlog: int
    device: str
    gpu_devices: int
    """Device files of GPUs."""
    gpu: Gpu | None
    torch: str | None
    torch_cuda: tuple[int, int] | None
    """The CUDA that torch was built for; None: a build for the CPU, or no torch."""
    port_problems: Mapping[int, str]
    """Why `serve` could not listen, by port."""
    running: RunningInstance | None = None
    """With the same state folder. Not looked for here: it has to be asked."""
    state_problem: str | None
    kernel_cache: str
    num_kernels: int
    """Compiled kernels in the cache."""


def gather(settings: Settings, environment: Mapping[str, str]) -> Facts:
    """Look at this machine through the settings that `serve` would have."""
    cache = _kernel_cache(environment)
    return Facts(
        system=platform.system(),
        python=sys.version_info[:2],
        missing_packages=tuple(name for name in (*REQUIRED, *REQUIRED_BY_PLATFORM) if find_spec(name) is None),
        redis_url=settings.redis,
        redis_server=redis.find_server(),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE),
        num_cores=devices.look(environment).num_cores,
        memory_bytes=_available_memory(),
        shared_memory_bytes=_free_bytes(Path("/dev/shm")),  # noqa: S108 - it is looked at, not written to
        clock_source=_read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        somaxconn=_number("/proc/sys/net/core/somaxconn"),
        backlog=settings.network.backlog,
        device=settings.device,
        gpu_devices=len(devices.look(environment).gpus),
        gpu=_gpu(),
        torch=_version("torch"),
        torch_cuda=torch_cuda(_version("torch"), _requires("torch")),
        port_problems=_port_problems(settings),
        state_problem=_state_problem(settings, environment),
        kernel_cache=str(cache),
        num_kernels=sum(1 for _ in cache.rglob("*.nbc")) if cache.is_dir() else 0,
    )


def torch_cuda(installed: str | None, needs: list[str]) -> tuple[int, int] | None:
    """Return the CUDA that a torch was built for, from its version (`2.13.0+cu130`) or from what it depends on."""
    if installed is None:
        return None
    local = re.search(r"\+cu(\d+)(\d)$", installed)
    if local is not None:
        return int(local[1]), int(local[2])
    if "+" in installed:  # +cpu, +rocm…, +xpu
        return None
    for need in needs:
        found = _CUDA_RUNTIME.match(need)
        if found is not None and found[2] is not None:
            return int(found[2]), int(found[3])
        if found is not None and found[1] is not None:
            return int(found[1]), 0
    return None


def parse_nvidia_smi(listing: str, overview: str) -> Gpu | None:
    """Read `nvidia-smi --query-gpu=name,driver_version --format=csv,noheader` and the plain `nvidia-smi`."""
    rows = [line.rpartition(",") for line in listing.splitlines() if "," in line]
    if not rows:
        return None
    cuda = re.search(r"CUDA(?: UMD)? Version:\s*(\d+)\.(\d+)", overview)
    return Gpu(
        names=tuple(name.strip() for name, _, _ in rows),
        driver=rows[0][2].strip(),
        cuda=None if cuda is None else (int(cuda[1]), int(cuda[2])),
    )


def _gpu() -> Gpu | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        listing, overview = (
            subprocess.run(  # noqa: S603 - a program of the driver, with fixed arguments
                [program, *arguments], capture_output=True, text=True, timeout=_NVIDIA_SMI_S, check=True
            ).stdout
            for arguments in (["--query-gpu=name,driver_version", "--format=csv,noheader"], [])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_nvidia_smi(listing, overview)


def _available_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _free_bytes(path: Path) -> int | None:
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _number(path: str) -> int | None:
    text = _read(path)
    return int(text) if text is not None and text.isdecimal() else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _requires(package: str) -> list[str]:
    try:
        return requires(package) or []
    except PackageNotFoundError:
        return []


def _port_problems(settings: Settings) -> dict[int, str]:
    """Listen at both ports for a moment, as `serve` would."""
    network = settings.network
    problems = {}
    for host, port, setting in ((network.host, network.port, "port"), (network.ops_host, network.ops_port, "ops_port")):
        try:
            sockets.listen(host, port, 1, setting=setting).close()
        except StartError as error:
            problems[port] = str(error)
    return problems


def _state_problem(settings: Settings, environment: Mapping[str, str]) -> str | None:
    state = StateFolder.of(settings.state_dir, environment)
    try:
        if state.key_file.exists():
            state.admin_key()
    except SpillwayError as error:
        return str(error)
    existing = next(path for path in (state.path, *state.path.parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"the state folder {state.path} cannot be written"
    return None


def _kernel_cache(environment: Mapping[str, str]) -> Path:
    """Where the engine keeps compiled kernels (`spillway_engine.kernel_cache`)."""
    given = environment.get("NUMBA_CACHE_DIR")
    home = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else home / "spillway" / "kernels"
