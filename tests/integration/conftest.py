"""Fixtures of the integration tests: certificates, and the gateway and the ops process behind real sockets."""

import asyncio
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import uvloop

from spillway.cli import Surroundings, main
from spillway.gateway.server import listening_socket, server_config
from spillway.server import Server
from spillway.settings import LimitSettings, NetworkSettings, Settings
from spillway_wire.outcomes import Outcome
from spillway_wire.tally import COUNTERS

PLAIN = NetworkSettings()


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


# ---- the gateway ----


@dataclass
class ServedGateway:
    """A gateway in the test's own process, on a port of its own."""

    house: Any
    port: int
    server: Server
    eventually: Callable[..., Awaitable[None]]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, limit=2**16)

    @staticmethod
    async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
        """Read one answer: its status and its body."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return int(head.split()[1]), await reader.readexactly(length)

    def outcomes(self, outcome: Outcome) -> int:
        count: int = self.house.tally._counts[COUNTERS.index(f"outcome_{outcome.value}")]
        return count

    async def ended_as(self, outcome: Outcome) -> None:
        await self.eventually(lambda: self.outcomes(outcome))
        assert self.house.tally.open_requests == 0
        assert self.house.pool.num_open == 0


@pytest.fixture
def with_gateway(gateway_house: ModuleType, asgi: ModuleType) -> Callable[..., None]:
    """Runs a test with a gateway behind real sockets: `with_gateway(test, network, slow_reader_s=0.1)`."""

    @asynccontextmanager
    async def serving(limits: LimitSettings, network: NetworkSettings) -> AsyncIterator[ServedGateway]:
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        house = gateway_house.House(settings=Settings(limits=limits))
        started = asyncio.Event()
        server = Server(server_config(house.app, network, lambda: limits.slow_reader_s), on_started=started.set)
        listener = listening_socket(listener.detach(), limits)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        await started.wait()
        try:
            yield ServedGateway(house, listener.getsockname()[1], server, asgi.eventually)
        finally:
            server.end(at_once=True)
            await running

    def run(test: Callable[[ServedGateway], Awaitable[None]], network: NetworkSettings = PLAIN, **limits: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60), serving(LimitSettings(**limits), network) as here:
                await test(here)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(bounded())

    return run


# ---- ops ----


@dataclass
class Ops:
    """An ops process, who supervises it, and a client that may come in."""

    process: asyncio.subprocess.Process
    http: httpx.AsyncClient
    supervisor: Any
    key: str

    async def command(self, *words: str, **variables: str) -> tuple[int, str, str]:
        """Run a subcommand against this process; return its status and what it wrote."""
        state = Path(self.supervisor.runtime.read_settings().state_dir)
        out, err = StringIO(), StringIO()
        around = Surroundings(
            environment={"SPILLWAY_STATE_DIR": str(state)} | variables, folder=state, out=out, err=err
        )
        status = await asyncio.to_thread(main, [*words, "--ops", str(self.http.base_url)], around)
        return status, out.getvalue(), err.getvalue()

    @property
    def admin(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    async def ended(self) -> int:
        async with asyncio.timeout(10):
            return await self.process.wait()


@pytest.fixture
def with_ops(fake_supervisor: ModuleType, tmp_path: Path) -> Callable[..., None]:
    """Runs a test with an ops process and its supervisor: `with_ops(test, chaos=True)`."""

    @asynccontextmanager
    async def started(settings: Settings) -> AsyncIterator[Ops]:
        folder = Path(tempfile.mkdtemp(prefix="ops-"))  # pytest's own are too long for a socket's path
        with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
            secure = settings.network.tls_certificate is not None
            url = f"{'https' if secure else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
            async with fake_supervisor.supervising(folder, settings) as supervisor, asyncio.timeout(30):
                command = fake_supervisor.child_command("spillway.ops", supervisor.runtime, "ops", listener.fileno())
                process = await asyncio.create_subprocess_exec(*command, pass_fds=[listener.fileno()])
                try:
                    ending = asyncio.ensure_future(process.wait())
                    await asyncio.wait({ending, supervisor.ready}, return_when=asyncio.FIRST_COMPLETED)
                    assert supervisor.ready.done(), "it ended before it was ready"
                    ending.cancel()
                    key = (tmp_path / "state" / "admin.key").read_text().strip()
                    async with httpx.AsyncClient(base_url=url, trust_env=False, verify=False) as http:  # noqa: S501
                        yield Ops(process, http, supervisor, key)
                finally:
                    shutil.rmtree(folder)
                    if process.returncode is None:
                        process.kill()
                        await process.wait()

    def run(test: Callable[[Ops], Awaitable[None]], **more: Any) -> None:
        settings = Settings(state_dir=str(tmp_path / "state"), **more)

        async def bounded() -> None:
            async with started(settings) as ops:
                await test(ops)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(bounded())

    return run
