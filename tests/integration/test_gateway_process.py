"""The gateway process, as the supervisor starts it, before an engine that counts."""

import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import uvloop

from spillway.settings import GenerationSettings, LimitSettings, NetworkSettings, Settings
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import EngineStatus, Member, Membership, Phase, PhaseKind, Reload, Role, ServedModel
from spillway_wire.tally import TallyReader, create_tally

STAND_IN = Path(__file__).parents[1] / "fakes" / "engine_stand_in.py"
CHAT = {"model": "demo", "messages": [{"role": "user", "content": "go"}]}
FOR_EVER = CHAT | {"stream": True, "max_tokens": 2000}


@dataclass
class Running:
    process: asyncio.subprocess.Process
    http: httpx.AsyncClient
    supervisor: Any
    tally: TallyReader
    eventually: Callable[..., Awaitable[None]]

    def say(self, message: Any) -> None:
        """Say something on the control plane."""
        self.supervisor.wires[0].send(message)

    async def ended(self) -> int:
        async with asyncio.timeout(10):
            return await self.process.wait()

    def balanced(self, **outcomes: int) -> bool:
        counts = self.tally.read()
        return counts["arrivals"] == sum(outcomes.values()) and all(
            counts[f"outcome_{outcome.value}"] == outcomes.get(outcome.value, 0) for outcome in Outcome
        )


Test = Callable[[Running], Awaitable[None]]
PLAIN = Settings()


@pytest.fixture
def with_gateway(fake_supervisor: ModuleType, gateway_house: ModuleType, asgi: ModuleType) -> Callable[..., None]:
    @asynccontextmanager
    async def started(settings: Settings) -> AsyncIterator[Running]:
        folder = Path(tempfile.mkdtemp(prefix="gw-"))  # pytest's own are too long for a socket's path
        children: list[asyncio.subprocess.Process] = []
        try:
            with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
                async with fake_supervisor.supervising(folder, settings) as supervisor, asyncio.timeout(60):
                    address = await start_engine(folder, gateway_house.DEMO, children)
                    tally = supervisor.runtime.tally("gateway-0", 1)
                    create_tally(tally)
                    command = fake_supervisor.child_command(
                        "spillway.gateway", supervisor.runtime, "gateway-0", listener.fileno()
                    )
                    process = await asyncio.create_subprocess_exec(*command, pass_fds=[listener.fileno()])
                    children.append(process)
                    hello = await supervisor.hello
                    assert (hello.child_id, hello.role) == ("gateway-0", Role.GATEWAY)
                    supervisor.wires[0].send(membership(address, gateway_house.DEMO))
                    await supervisor.ready
                    secure = settings.network.tls_certificate is not None
                    url = f"{'https' if secure else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
                    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20, verify=not secure) as http:
                        await until(lambda: http.get("/ready"), 200)
                        yield Running(process, http, supervisor, TallyReader(tally), asgi.eventually)
        finally:
            shutil.rmtree(folder)
            for child in children:
                if child.returncode is None:
                    child.kill()
                    await child.wait()

    def run(test: Test, settings: Settings = PLAIN) -> None:
        async def bounded() -> None:
            async with started(settings) as running:
                await test(running)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(bounded())

    return run


async def start_engine(folder: Path, model: Path, children: list[asyncio.subprocess.Process]) -> str:
    address = f"unix:{folder}/engine-0.1.sock"
    flags = ["--model", str(model), "--served-name", "demo", "--address", address, "--engine-id", "engine-0"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(STAND_IN),
        *flags,
        "--incarnation",
        "1",
        env=os.environ | {"SPILLWAY_STAND_IN_STEP_S": "0.005"},
        stdout=asyncio.subprocess.PIPE,
    )
    children.append(process)
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line.startswith(b"ready "), line
    return address


def membership(address: str, model: Path, version: int = 2, status: EngineStatus = EngineStatus.READY) -> Membership:
    member = Member(engine_id="engine-0", incarnation=1, model="demo", address=address, status=status)
    return Membership(version=version, members=(member,), models=(ServedModel(name="demo", path=str(model)),))


async def until(ask: Callable[[], Awaitable[httpx.Response]], status: int) -> httpx.Response:
    """Ask again and again until the answer has `status`."""
    for _ in range(500):
        response = await ask()
        if response.status_code == status:
            return response
        await asyncio.sleep(0.01)
    raise AssertionError(f"never answered {status}")


async def first_event(lines: AsyncIterator[str]) -> str:
    async for line in lines:
        if line.startswith("data: "):
            return line
    raise AssertionError("the stream ended before its first event")


def test_it_serves_what_an_engine_says_and_counts_it(with_gateway: Callable[[Test], None]) -> None:
    async def test(running: Running) -> None:
        answer = (await running.http.post("/v1/chat/completions", json=CHAT | {"max_tokens": 5})).json()
        assert answer["choices"][0]["finish_reason"] == "length"
        numbers = [int(word) for word in answer["choices"][0]["message"]["content"].split()]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert answer["usage"]["completion_tokens"] == 5
        refused = await running.http.post("/v1/chat/completions", json=CHAT | {"n": 99})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "n")
        await running.eventually(lambda: running.balanced(completed=1, invalid=1))  # counted once it is sent
        assert running.tally.read()["output_tokens"] == 5

    with_gateway(test)


def test_a_client_that_leaves_frees_the_engine_streaming_or_not(with_gateway: Callable[[Test], None]) -> None:
    async def test(running: Running) -> None:
        async with running.http.stream("POST", "/v1/chat/completions", json=FOR_EVER) as response:
            lines = response.aiter_lines()
            await first_event(lines)
            while (await running.supervisor.beats.get()).facts["journal_entries"] != 1:
                pass
        with pytest.raises(httpx.ReadTimeout):
            await running.http.post("/v1/chat/completions", json=FOR_EVER | {"stream": False}, timeout=0.2)
        await running.eventually(lambda: running.balanced(client_gone=2))
        assert running.tally.read()["clients_disconnected"] == 2
        beat = await running.supervisor.beats.get()
        while beat.open_requests:
            beat = await running.supervisor.beats.get()
        assert (beat.facts["accept_queue"], beat.facts["journal_entries"]) == (0, 0)

    with_gateway(test)


def test_an_orderly_end_goes_through_its_phases(with_gateway: Callable[[Test], None]) -> None:
    async def test(running: Running) -> None:
        running.say(Phase(kind=PhaseKind.UNREADY))
        await until(lambda: running.http.get("/ready"), 503)
        async with running.http.stream("POST", "/v1/chat/completions", json=FOR_EVER) as response:
            lines = response.aiter_lines()
            await first_event(lines)
            running.say(Phase(kind=PhaseKind.REFUSING))
            refused = await until(lambda: running.http.post("/generate", json={"prompt": "x"}), 503)
            assert refused.headers["x-spillway-outcome"] == "draining"
            await first_event(lines)  # what is in flight goes on
            running.say(Phase(kind=PhaseKind.ENDING))
            events = [line.removeprefix("data: ") async for line in lines if line.startswith("data: ")]
        assert json.loads(events[-1])["error"]["code"] == "server_is_overloaded"
        assert await running.ended() == 0

    with_gateway(test)


def test_a_signal_to_end_is_the_last_phase(with_gateway: Callable[[Test], None]) -> None:
    async def test(running: Running) -> None:
        async with running.http.stream("POST", "/v1/chat/completions", json=FOR_EVER) as response:
            lines = response.aiter_lines()
            await first_event(lines)
            running.process.send_signal(signal.SIGTERM)
            events = [line.removeprefix("data: ") async for line in lines if line.startswith("data: ")]
        assert "error" in json.loads(events[-1])
        assert await running.ended() == 0
        await running.eventually(lambda: running.balanced(draining=1))

    with_gateway(test)


def test_a_reload_brings_limits_defaults_and_certificate_of_the_files_as_they_are_now(
    with_gateway: Callable[..., None], certificates: Callable[[str], tuple[Path, Path]]
) -> None:
    certificate, key = certificates("ours")
    network = NetworkSettings(tls_certificate=str(certificate), tls_key=str(key))
    settings = Settings(network=network, generation=GenerationSettings(max_tokens_chat=3))

    async def test(running: Running) -> None:
        address = (str(running.http.base_url.host), int(running.http.base_url.port or 0))
        answer = (await running.http.post("/v1/chat/completions", json=CHAT)).json()
        assert answer["usage"]["completion_tokens"] == 3
        assert await asyncio.to_thread(ssl.get_server_certificate, address) == certificate.read_text()

        for old, new in zip((certificate, key), certificates("renewed"), strict=True):
            old.write_bytes(new.read_bytes())
        fresh = replace(
            settings, generation=GenerationSettings(max_tokens_chat=4), limits=LimitSettings(max_body_bytes=100)
        )
        runtime = running.supervisor.runtime
        runtime.write_settings(replace(fresh, state_dir=str(runtime.path / "state")))
        running.say(Reload())

        await until(lambda: running.http.post("/v1/chat/completions", json=CHAT | {"user": "x" * 100}), 413)
        answer = (await running.http.post("/v1/chat/completions", json=CHAT)).json()
        assert answer["usage"]["completion_tokens"] == 4
        assert await asyncio.to_thread(ssl.get_server_certificate, address) == certificate.read_text()

    with_gateway(test, settings)


def test_it_ends_with_its_supervisor(with_gateway: Callable[[Test], None]) -> None:
    async def test(running: Running) -> None:
        for wire in list(running.supervisor.wires):
            wire.close("the supervisor is gone")
        assert await running.ended() == 1

    with_gateway(test)
