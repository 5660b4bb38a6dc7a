"""vLLM's own server as a peer, in an environment of its own: as it comes, or with its bound of the queue.

Process: the bench; the server leads a session of its own, so that whatever it started ends with it. What it says stays
in a log beside the environments.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spillway.bench.overload.targets import IDLE_WITHIN_S
from spillway.bench.overload.work import LONGEST
from spillway.errors import SpillwayError

START_WITHIN_S: Final = 900.0
"""The first start compiles the model."""
END_WITHIN_S: Final = 30.0
LOGS: Final = Path(".bench/logs")
_BUSY: Final = re.compile(r"^vllm:num_requests_(?:running|waiting)(?:\{[^}]*\})? ([0-9.e+-]+)$", re.MULTILINE)


class PeerFailedError(SpillwayError):
    """A peer did not install or start; the message says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A running server."""

    name: str
    address: tuple[str, int]

    def wait_until_idle(self) -> None:
        """See `Target`."""
        deadline = time.monotonic() + IDLE_WITHIN_S
        while any(float(number) for number in _BUSY.findall(_get(self.address, "/metrics"))):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} still works {IDLE_WITHIN_S:g} s after the last client left")
            time.sleep(0.2)


def interpreter(given: Path | None) -> Path:
    """Return the Python that has vLLM: the one given, or that of the engine benchmark's environment, made if needed."""
    if given is not None:
        return given
    code = (
        "from spillway_engine.bench.peers.catalog import VLLM; "
        "from spillway_engine.bench.peers.environment import DEFAULT_ROOT, ensure_environment; "
        "print(ensure_environment(VLLM, DEFAULT_ROOT))"
    )
    made = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise PeerFailedError(f"vLLM's environment could not be made: {(made.stderr.splitlines() or ['?'])[-1][:300]}")
    return Path(made.stdout.split()[-1])


@contextmanager
def vllm(python: Path, folder: Path, model: str, queued: int | None = None) -> Iterator[Peer]:
    """Run the server; `queued`: its `--max-num-queued-reqs`, which counts the running too. Raises `PeerFailedError`."""
    LOGS.mkdir(parents=True, exist_ok=True)
    name = "vllm" if queued is None else f"vllm, queue {queued}"
    log = LOGS / f"overload-{name.replace(', queue ', '-')}.log"
    port = _free_port()
    with log.open("wb") as said:
        server = subprocess.Popen(  # noqa: S603 - a peer's server, from its own environment
            _command(python, folder, model, port, queued),
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(server, port, log)
        yield Peer(name, ("127.0.0.1", port))
    finally:
        _end(server)


def _command(python: Path, folder: Path, model: str, port: int, queued: int | None) -> list[str]:
    bound = [] if queued is None else ["--max-num-queued-reqs", str(queued)]
    return [
        *(str(python), "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(folder), "--served-model-name", model),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--max-model-len", str(max(512, LONGEST)), "--disable-uvicorn-access-log"),
        *bound,
    ]


def _environment(folder: Path) -> dict[str, str]:
    """Offline, all cores, a bounded cache of keys and values; as the engine benchmark has it."""
    cores = sorted(os.sched_getaffinity(0))
    return {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),
        "VLLM_CACHE_ROOT": str(folder.parent.with_name("cache") / "vllm"),
        "OMP_NUM_THREADS": str(len(cores)),
    }


def _wait_until_ready(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError, urllib.error.URLError):
            _get(("127.0.0.1", port), "/health")
            return
        time.sleep(0.5)
    last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["nothing was said"])[-1]
    raise PeerFailedError(f"vLLM's server did not become ready, status {server.poll()}: {last[:300]}; see {log}")


def _end(server: "subprocess.Popen[bytes]") -> None:
    server.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(END_WITHIN_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _get(address: tuple[str, int], path: str) -> str:
    with urllib.request.urlopen(f"http://{address[0]}:{address[1]}{path}", timeout=30.0) as answer:
        text: str = answer.read().decode()
    return text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
