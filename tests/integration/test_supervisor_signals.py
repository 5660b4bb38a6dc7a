"""SIGHUP with and without a terminal, what a start that can never succeed comes to, and what a run leaves behind."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from spillway.errors import StartError
from spillway.runtime import RuntimeFolder
from spillway.settings import GenerationSettings, LimitSettings, Settings
from spillway.supervisor.engine_run import EngineRun, EngineSpec
from spillway.supervisor.exits import KernelKills
from spillway.supervisor.lifecycle import Event
from spillway.supervisor.main import run
from spillway.supervisor.run import Asked, Ended
from spillway.supervisor.service_run import ServiceRun
from spillway.supervisor.services import Programs
from spillway.supervisor.sockets import listen
from spillway.supervisor.stop_requests import StopRequests
from spillway.supervisor.totals import Totals
from spillway.supervisor.tree import Tree
from spillway_wire.page import EngineState, PageWriter

FAKES = Path(__file__).parents[1] / "fakes"
FAILS = (sys.executable, "-c", "import sys; sys.exit('no tokenizer.json')")
SERVICE = (sys.executable, str(FAKES / "fake_service.py"))
ENGINE = (sys.executable, str(FAKES / "fake_engine.py"))


def settings(folder: Path, **changes: Any) -> Settings:
    """One engine, free ports, no waiting at the end."""
    given: dict[str, Any] = {
        "models": [{"name": "fake", "model": str(folder), "engines": 1}],
        "network": {"port": 0, "ops_port": 0},
        "drain": {"grace_s": 0.0, "timeout_s": 5.0},
        "restart": {"backoff_base_s": 0.02},
        "redis": "redis://not-needed",
    }
    return msgspec.convert({**given, **changes}, Settings)


# ---- SIGHUP ----


@pytest.mark.skipif(sys.platform == "win32", reason="there are no terminals of that kind")
def test_a_closed_terminal_ends_everything_in_good_order(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, str(FAKES / "fake_platform.py"), msgspec.json.encode(settings(tmp_path)).decode()]
    with (
        os.fdopen(ours, "rb", buffering=0) as terminal,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True) as process,
    ):
        os.close(theirs)
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("ready ")
            for _ in range(2):  # from the kernel and from a shell: still, nobody was asked to hurry
                process.send_signal(signal.SIGHUP)
            assert process.wait(15) == 0
        finally:
            process.kill()
        said = ""
        with contextlib.suppress(OSError):  # how a terminal says that nobody is left at its other end
            while text := terminal.read(2**16):
                said += text.decode()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)  # on a terminal lines are coloured, for people
    assert re.findall(r" phase .*?phase=(\w+)", plain) == ["unready", "refusing", "ending"]


def test_what_a_hang_up_brings_reaches_settings_file_children_and_every_bound(
    instances: ModuleType, tmp_path: Path
) -> None:
    folder = tmp_path / "r"
    fresh = settings(
        tmp_path,
        runtime_dir=str(folder),
        gateways=2,
        limits={"engine_wait_s": 7.0},
        generation={"top_p": 0.5},
        restart={"backoff_base_s": 0.02, "hang_floor_s": 60.0},
    )
    given = msgspec.to_builtins(settings(tmp_path, runtime_dir=str(folder)))
    reloaded = tmp_path / "reloaded.json"
    reloaded.write_bytes(msgspec.json.encode(fresh))
    with instances.Instance(given, environment={"FAKE_PLATFORM_RELOADS": str(reloaded)}) as instance:
        instance.ready()
        victim = instance.until(lambda status: status["ready"])["engines"][0]["pid"]
        instance.signal(signal.SIGHUP)
        event = instance.event("reloaded")
        assert sorted(event["taken_over"]) == ["generation", "limits", "restart"]
        assert event["need_restart"] == ["gateways"]
        assert instance.heard("reloads") == 1
        kept = RuntimeFolder(folder).read_settings()
        assert (kept.limits, kept.generation) == (LimitSettings(engine_wait_s=7), GenerationSettings(top_p=0.5))
        assert kept.gateways == 1
        os.kill(victim, signal.SIGSTOP)  # for longer than the old floor, which the new one allows
        time.sleep(2.5)
        os.kill(victim, signal.SIGCONT)
        assert instance.status()["engines"][0]["incarnation"] == 1


def test_a_watch_that_was_held_up_pardons_for_the_floor_of_now(tmp_path: Path) -> None:
    async def main() -> None:
        with listen("127.0.0.1", 0, 1, setting="port") as api, listen("127.0.0.1", 0, 1, setting="ops_port") as ops:
            tree = Tree(
                settings(tmp_path),
                RuntimeFolder(tmp_path),
                (),
                (api, ops),
                stop_requests=StopRequests(),
                programs=Programs(),
                urls={},
                on_progress=lambda *_: None,
                log=lambda *_, **__: None,
            )
            tree.apply(settings(tmp_path, restart={"hang_floor_s": 7.0}))
            assert tree._watch.pardon_ns == 7_000_000_000

    asyncio.run(main())


# ---- the end ----


def test_whoever_waits_for_the_end_is_told_how_long_and_how_to_hurry(instances: ModuleType, tmp_path: Path) -> None:
    given = msgspec.to_builtins(settings(tmp_path, drain={"grace_s": 0.01, "timeout_s": 600.0}))
    with instances.Instance(given) as instance:
        instance.ready()
        instance.ask(instance.api, "open")
        instance.signal(signal.SIGINT)
        unready, refusing = (instance.event("phase", phase=phase)["message"] for phase in ("unready", "refusing"))
        assert unready == "still taking work for 0.01 s; Ctrl-C or SIGTERM again hurries"
        assert refusing == "open requests may go on for 600 s; Ctrl-C or SIGTERM again hurries"
        instance.signal(signal.SIGINT)
        assert instance.ended() == 0


# ---- a start that can never succeed ----


@pytest.mark.parametrize("role", ["gateway", "ops"])
def test_a_child_that_says_it_cannot_start_ends_everything_with_its_line(tmp_path: Path, role: str) -> None:
    working = Programs(engine=ENGINE, gateway=(*SERVICE, "gateway"), ops=(*SERVICE, "ops"))
    programs = replace(working, gateway=FAILS) if role == "gateway" else replace(working, ops=FAILS)
    with pytest.raises(StartError, match=rf"{role}(-0)? cannot start: exit status 1: no tokenizer.json"):
        run(settings(tmp_path), on_ready=lambda _api, _ops: None, log=lambda _event, **_: None, programs=programs)


# ---- runs ----


class Deaf:
    """Signs that nobody reads, but for the end."""

    def __init__(self) -> None:
        self.over: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    def moved(self, event: Event, detail: str = "") -> None:
        pass

    def ready(self) -> None:
        pass

    def ended(self, ended: Ended) -> None:
        self.over.set_result(ended)


def engine_run(
    runtime: RuntimeFolder, signs: Deaf, *command: str, floor_s: Callable[[], float] = lambda: 2.0
) -> EngineRun:
    return EngineRun(
        EngineSpec(engine_id="engine-0", model="m", command=command),
        runtime,
        1,
        signs,
        parent_pid=os.getpid(),
        hang_floor_s=floor_s,
        totals=Totals(),
        kernel_kills=KernelKills(),
        log=lambda *_, **__: None,
    )


def test_a_program_that_cannot_be_started_leaves_no_page_and_no_tally(tmp_path: Path) -> None:
    async def main() -> None:
        runtime = RuntimeFolder(tmp_path)
        with pytest.raises(FileNotFoundError):
            engine_run(runtime, Deaf(), str(tmp_path / "none"))
        with pytest.raises(FileNotFoundError):
            ServiceRun(
                [str(tmp_path / "none")],
                Deaf(),
                listener_fd=0,
                tally=runtime.tally("gateway-0", 1),
                totals=Totals(),
                signals={},
                on_line=lambda *_: None,
            )

    asyncio.run(main())
    assert list(tmp_path.iterdir()) == []


def test_the_patience_with_a_running_engine_is_what_the_settings_say_now(tmp_path: Path) -> None:
    async def main() -> None:
        patience_s = [2.0]
        signs = Deaf()
        code = "import time; time.sleep(60)"
        running = engine_run(RuntimeFolder(tmp_path), signs, sys.executable, "-c", code, floor_s=lambda: patience_s[0])
        writer = PageWriter(RuntimeFolder(tmp_path).page("engine-0", 1))
        now_ns = time.monotonic_ns()
        writer.state = EngineState.READY
        writer.end(now_ns)
        late_ns = now_ns + 3_000_000_000
        assert running.late(late_ns) == "no sign of life for 3.0 s after step 0"
        patience_s[0] = 5.0
        assert running.late(late_ns) is None
        writer.close()
        running.ask(Asked.KILL)
        await signs.over
        running.close()

    asyncio.run(main())
