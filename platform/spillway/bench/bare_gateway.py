"""One gateway process as the supervisor starts it, with a stand-in engine: the smallest platform there can be.

The gateway is the real one: its process, its inherited socket, its shared tally, its link to a supervisor. The
supervisor is played here, by what it says to a gateway: this is the membership, and you are serving.
"""

import asyncio
import contextlib
import os
import socket
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from spillway.runtime import RuntimeFolder
from spillway.settings import Settings
from spillway_text.folders import resolve_model
from spillway_wire.address import UnixAddress
from spillway_wire.channel import Connection, listen
from spillway_wire.codec import FrameEncoder, Malformed
from spillway_wire.plane import (
    ChildHello,
    ChildReady,
    EngineStatus,
    Member,
    Membership,
    Phase,
    PhaseKind,
    ServedModel,
    ToSupervisor,
)
from spillway_wire.tally import create_tally

MODEL = "demo"
ENGINE = "engine-0"
GATEWAY = "gateway-0"
STAND_IN = ("-m", "spillway_engine.bench.stand_in")
STEP_VARIABLE = "SPILLWAY_STAND_IN_STEP_S"
READY_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class BareGateway:
    """Where to reach the gateway and its engine, and which processes they are."""

    host: str
    port: int
    engine_address: str
    gateway_pid: int
    engine_pid: int


@asynccontextmanager
async def bare_gateway(
    *, gateway_cores: Collection[int], other_cores: Collection[int], step_s: float = 0.0
) -> AsyncIterator[BareGateway]:
    """Start both and stop both. This process and the engine run on `other_cores`, the gateway on `gateway_cores`.

    Each step of the engine takes `step_s`.
    """
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="spillway-bench-"))
        runtime = RuntimeFolder(Path(folder))
        runtime.write_settings(Settings(state_dir=str(Path(folder) / "state")))
        os.sched_setaffinity(0, other_cores)
        address = runtime.engine_address(ENGINE, 1)
        log = Path(folder) / "engine.log"
        engine = await _start(
            stack, log, *STAND_IN, "--model", MODEL, "--address", address, "--engine-id", ENGINE,
            environment={STEP_VARIABLE: str(step_s)},
        )  # fmt: skip
        await _expect(_ready_line(engine), engine, log)

        ready = asyncio.Event()
        server, _ = await listen(
            UnixAddress(str(runtime.supervisor_socket)), lambda: _plane(_membership(address), ready)
        )
        stack.callback(server.close)
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2048))
        create_tally(runtime.tally(GATEWAY, 1))
        os.sched_setaffinity(0, gateway_cores)  # a child inherits it, with all threads it will have
        try:
            log = Path(folder) / "gateway.log"
            gateway = await _start(
                stack, log, "-m", "spillway.gateway", "--runtime", folder, "--id", GATEWAY, "--incarnation", "1",
                "--fd", str(listening.fileno()), inherit=(listening.fileno(),),
            )  # fmt: skip
        finally:
            os.sched_setaffinity(0, other_cores)
        await _expect(ready.wait(), gateway, log)
        host, port = listening.getsockname()
        yield BareGateway(host, port, address, gateway.pid, engine.pid)


def _plane(membership: Membership, ready: asyncio.Event) -> Connection[ToSupervisor]:
    """The supervisor's end of the gateway's link."""

    def received(wire: Connection[ToSupervisor], message: ToSupervisor | Malformed) -> None:
        match message:
            case ChildHello():
                wire.send(Phase(kind=PhaseKind.SERVING))
                wire.send(membership)
            case ChildReady():
                ready.set()

    return Connection(ToSupervisor, FrameEncoder(), on_message=received, on_closed=lambda *_: None)


def _membership(address: str) -> Membership:
    member = Member(engine_id=ENGINE, incarnation=1, model=MODEL, address=address, status=EngineStatus.READY)
    return Membership(version=1, members=(member,), models=(ServedModel(name=MODEL, path=str(resolve_model(MODEL))),))


async def _start(
    stack: AsyncExitStack,
    log: Path,
    *arguments: str,
    inherit: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> Process:
    """Start a process that ends with this one, and with the context; `log` takes what it says on standard error."""
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, "--parent-pid", str(os.getpid()),
            stdout=asyncio.subprocess.PIPE, stderr=errors, pass_fds=inherit,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
    stack.push_async_callback(_stop, process)
    return process


async def _stop(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def _ready_line(process: Process) -> None:
    if process.stdout is not None:
        await process.stdout.readline()  # it says nothing else


async def _expect(ready: Awaitable[object], process: Process, log: Path) -> None:
    """Wait until a process is ready; raise with its last words if it ends before, or takes too long."""
    waiting, ended = asyncio.ensure_future(ready), asyncio.ensure_future(process.wait())
    await asyncio.wait((waiting, ended), timeout=READY_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
    failed = ended.done() or not waiting.done()
    for future in (waiting, ended):
        future.cancel()
    if failed:
        raise RuntimeError(f"{log.stem} was not ready in time, status {process.returncode}: {_end_of(log)}")


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]
