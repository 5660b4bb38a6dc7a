"""An engine process from start to end: when it is ready, how it ends, and that it never outlives its owner."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType

import psutil
import pytest
import uvloop

from spillway_engine.client.engine_client import EngineClient
from spillway_engine.client.launch import EngineProcess
from spillway_engine.errors import EngineDeadError
from spillway_engine.settings import EngineSettings
from spillway_wire.page import EngineState, PageReader, create_page, overdue
from spillway_wire.sampling import SamplingParams

SETTINGS = EngineSettings(model="fake")


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


def test_a_spawned_engine_serves_and_ends_with_its_client(
    fake_engine: ModuleType, fake_engine_command: tuple[str, ...]
) -> None:
    async def test() -> None:
        async with await EngineClient.spawn(SETTINGS, command=fake_engine_command) as client:
            (answer,) = await client.generate([3], SamplingParams(max_tokens=4))
            assert answer.token_ids == fake_engine.expected([3], 4)
            process = client.process
            assert process is not None
            folder = Path(process.address.removeprefix("unix:")).parent
            assert folder.stat().st_mode & 0o777 == 0o700
        assert process.status == 0
        assert not folder.exists()

    run(test)


@pytest.mark.parametrize(("num_signals", "cause"), [(1, "drained"), (2, "stopped")])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_drains_and_the_second_stops(
    fake_engine_command: tuple[str, ...], number: signal.Signals, num_signals: int, cause: str
) -> None:
    async def test() -> None:
        async with await EngineClient.spawn(SETTINGS, command=fake_engine_command) as client:
            assert client.process is not None
            running = client.submit([1], SamplingParams(max_tokens=None if num_signals == 2 else 2_000))
            await anext(running)
            client.process.send_signal(number)
            if num_signals == 2:
                while (await client.snapshot())["state"] != "draining":
                    pass
                client.process.send_signal(number)
            else:
                assert len((await running.result())[0].token_ids) == 2_000
            assert await client.process.wait() == 0
            assert cause in await client._links.end()

    run(test)


def test_a_killed_engine_fails_what_was_open_and_a_fresh_one_goes_on(
    fake_engine: ModuleType, fake_engine_command: tuple[str, ...], tmp_path: Path
) -> None:
    create_page(tmp_path / "page")
    reader = PageReader(tmp_path / "page")

    async def test() -> None:
        flags = ("--page", str(tmp_path / "page"), "--chaos")
        first = await EngineClient.spawn(SETTINGS, command=fake_engine_command, flags=flags)
        assert (await first.inject("crash", at_step=50)).armed
        generation = first.submit([1], SamplingParams(max_tokens=200), request_id="x")
        with pytest.raises(EngineDeadError):
            await generation.result()
        assert first.process is not None
        assert await first.process.wait() == -signal.SIGKILL

        dead = reader.read()
        assert dead is not None
        assert (dead.step, dead.started_ns is not None) == (50, True)
        assert [request_id for _, request_id, _, _ in dead.aboard] == ["x"]

        async with await EngineClient.spawn(SETTINGS, command=fake_engine_command) as second:
            (answer,) = await second.resume(generation).result()
            assert answer.token_ids == fake_engine.expected([1], 200)
        await first.close()

    run(test)


def test_an_endless_step_shows_on_the_page(fake_engine_command: tuple[str, ...], tmp_path: Path) -> None:
    create_page(tmp_path / "page")
    reader = PageReader(tmp_path / "page")

    async def test() -> None:
        flags = ("--page", str(tmp_path / "page"), "--chaos")
        async with await EngineClient.spawn(SETTINGS, command=fake_engine_command, flags=flags) as client:
            assert (await client.inject("endless_step", at_step=3)).armed
            generation = client.submit([1])
            for _ in range(2):
                await anext(generation)
            while (progress := reader.read()) is None or progress.step < 3:  # noqa: ASYNC110 - bounded by the test's own timeout
                await asyncio.sleep(0)  # shared memory rings no bell
            assert progress.started_ns is not None
            assert progress.state is EngineState.READY
            patience_ns = max(2_000_000_000, 8 * progress.expected_ns)
            assert overdue(progress, progress.started_ns + patience_ns) is None
            assert overdue(progress, progress.started_ns + patience_ns + 1) == 1
            assert client.process is not None
            assert await client.process.kill() == -signal.SIGKILL
            with pytest.raises(EngineDeadError):
                await generation.result()

    run(test)


def test_a_process_that_cannot_start_says_why(fake_engine_command: tuple[str, ...]) -> None:
    async def test() -> None:
        with pytest.raises(EngineDeadError) as dead:
            await EngineProcess.start(SETTINGS, command=fake_engine_command, flags=("--page", "/nowhere/page"))
        assert "exit status 1" in str(dead.value)
        assert "/nowhere/page" in str(dead.value)

    run(test)


def test_a_wrong_flag_is_one_line_and_exit_status_2(fake_engine_command: tuple[str, ...]) -> None:
    async def test() -> None:
        process = await asyncio.create_subprocess_exec(
            *fake_engine_command, "--model", "x", "--address", "nowhere", stderr=asyncio.subprocess.PIPE
        )
        _, errors = await process.communicate()
        assert process.returncode == 2
        assert errors.decode().splitlines() == [
            "spillway_engine: --address: 'nowhere' is no address; write unix:/path/to/socket or tcp:host:port"
        ]

    run(test)


OWNER = """
import asyncio, sys
from spillway_engine.client.launch import EngineProcess
from spillway_engine.settings import EngineSettings

async def main():
    engine = await EngineProcess.start(EngineSettings(model="fake"), command=sys.argv[1:])
    print(engine.pid, engine.address, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_an_engine_dies_with_its_killed_owner(fake_engine_command: tuple[str, ...]) -> None:
    async def test() -> None:
        owner = await asyncio.create_subprocess_exec(
            sys.executable, "-c", OWNER, *fake_engine_command, stdout=asyncio.subprocess.PIPE
        )
        assert owner.stdout is not None
        pid, address = (await owner.stdout.readline()).decode().split()
        engine = psutil.Process(int(pid))
        client = await EngineClient.connect(address)
        owner.kill()
        await owner.wait()
        await client._links.end()  # the engine's end closes its sockets
        await client.close()
        with contextlib.suppress(psutil.NoSuchProcess):
            while engine.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):  # noqa: ASYNC110 - not our child
                await asyncio.sleep(0)
        shutil.rmtree(Path(address.removeprefix("unix:")).parent)

    run(test)


def test_an_engine_of_another_parent_does_not_start(fake_engine_command: tuple[str, ...], tmp_path: Path) -> None:
    async def test() -> None:
        address = f"unix:{tmp_path / 'e.sock'}"
        process = await asyncio.create_subprocess_exec(
            *fake_engine_command,
            *("--model", "x", "--address", address, "--parent-pid", str(os.getpid() + 1)),
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
        assert process.returncode == 1
        assert "the parent of this process is" in errors.decode()

    run(test)
