"""A supervisor in the test's own process: it says what the test wants, and notes what it hears."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from spillway.runtime import RuntimeFolder
from spillway.settings import Settings
from spillway_wire.address import UnixAddress
from spillway_wire.channel import Connection, listen
from spillway_wire.codec import FrameEncoder, Malformed
from spillway_wire.plane import (
    BrownoutFloor,
    ChildBeat,
    ChildHello,
    ChildReady,
    Membership,
    Order,
    OrderReply,
    Phase,
    PhaseKind,
    Status,
    StatusRequest,
    ToSupervisor,
)
from spillway_wire.series_page import create_series


def engine(engine_id: str = "engine-0", *, state: str = "ready", model: str = "demo", **more: Any) -> dict[str, Any]:
    return {
        "id": engine_id,
        "pid": 101,
        "state": state,
        "incarnation": 1,
        "model": model,
        "running": 3,
        "waiting": 1,
        "kv_blocks": {"total": 100, "free": 75},
        "restarts": {},
        "last_exit": None,
        "counters": {"steps": 10, "output_tokens": 40},
    } | more


def gateway(gateway_id: str = "gateway-0", *, state: str = "ready", **more: Any) -> dict[str, Any]:
    return {
        "id": gateway_id,
        "pid": 201,
        "state": state,
        "incarnation": 1,
        "open_requests": 2,
        "loop_lag_ms": 1.5,
        "counters": {"arrivals": 12, "outcome_completed": 9, "outcome_client_gone": 1, "output_tokens": 400},
    } | more


def status(**more: Any) -> dict[str, Any]:
    return {
        "ready": True,
        "phase": "serving",
        "engines": [engine("engine-0"), engine("engine-1")],
        "gateways": [gateway()],
        "ops": {"pid": 301, "state": "ready"},
        "redis": {"pid": 401, "state": "ready"},
        "models": [{"name": "demo", "aliases": []}],
        "supervisor": {"pid": 1, "rss_bytes": 30_000_000, "uptime_s": 12.5},
    } | more


class FakeSupervisor:
    """Answers on the control plane. `silent` makes it deaf to questions."""

    def __init__(self, runtime: RuntimeFolder) -> None:
        self.runtime = runtime
        self.status: dict[str, Any] = status()
        self.silent = False
        self.accept = True
        self.num_asked = 0
        self.orders: list[Order] = []
        self.hello: asyncio.Future[ChildHello] = asyncio.get_running_loop().create_future()
        self.ready: asyncio.Future[ChildReady] = asyncio.get_running_loop().create_future()
        self.beats: asyncio.Queue[ChildBeat] = asyncio.Queue()
        self.floors: asyncio.Queue[BrownoutFloor] = asyncio.Queue()
        self.wires: list[Connection[ToSupervisor]] = []

    def make(self) -> Connection[ToSupervisor]:
        return Connection(
            ToSupervisor,
            FrameEncoder(),
            on_open=self.wires.append,
            on_message=self.heard,
            on_closed=lambda wire, _: self.wires.remove(wire),
        )

    def heard(self, wire: Connection[ToSupervisor], message: ToSupervisor | Malformed) -> None:
        match message:
            case ChildHello():
                self.hello.set_result(message)
                wire.send(Phase(kind=PhaseKind.SERVING))
                wire.send(Membership(version=1, members=(), models=()))
            case ChildReady():
                self.ready.set_result(message)
            case ChildBeat():
                self.beats.put_nowait(message)
            case StatusRequest() if not self.silent:
                self.num_asked += 1
                wire.send(Status(token=message.token, status=self.status))
            case Order():
                self.orders.append(message)
                text = f"{message.kind} {message.target}".strip() if self.accept else "it is parked"
                wire.send(OrderReply(token=message.token, accepted=self.accept, message=text))
            case BrownoutFloor():
                self.floors.put_nowait(message)
            case Malformed():
                raise AssertionError(message)


@asynccontextmanager
async def supervising(folder: Path, settings: Settings) -> AsyncIterator[FakeSupervisor]:
    """Listen in a runtime folder that holds `settings`."""
    folder.mkdir(mode=0o700, exist_ok=True)  # noqa: ASYNC240 - nothing is served yet
    runtime = RuntimeFolder(folder)
    runtime.write_settings(replace(settings, state_dir=settings.state_dir or str(runtime.path / "state")))
    create_series(runtime.series("ops", 1))
    supervisor = FakeSupervisor(runtime)
    server, _ = await listen(UnixAddress(str(runtime.supervisor_socket)), supervisor.make)
    try:
        yield supervisor
    finally:
        server.close()
        for wire in list(supervisor.wires):
            wire.close("the test is over")


def child_command(module: str, runtime: RuntimeFolder, child_id: str, fd: int) -> list[str]:
    """The command line that the real supervisor starts a child with."""
    flags = ["--runtime", str(runtime.path), "--id", child_id, "--incarnation", "1", "--fd", str(fd)]
    return [sys.executable, "-m", module, *flags, "--parent-pid", str(os.getpid())]
