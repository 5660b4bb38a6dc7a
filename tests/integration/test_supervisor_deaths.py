"""The supervisor as a process, with light children: every way in which one of them can die, and what comes of it."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from spillway.supervisor.redis import find_server
from spillway_engine.client.engine_client import EngineClient
from spillway_engine.errors import EngineDeadError

SECOND = 1_000_000_000


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """Two engines, free ports, short waits."""
    given: dict[str, Any] = {
        "models": [{"name": "fake", "model": str(folder), "engines": 2}],
        "network": {"port": 0, "ops_port": 0},
        "drain": {"grace_s": 0.0, "timeout_s": 5.0},
        "restart": {"backoff_base_s": 0.02},
        "redis": "redis://not-needed",
        "chaos": True,
    }
    return {**given, **changes}


def all_ready(status: Any) -> bool:
    return all(place["state"] == "ready" for place in (*status["engines"], *status["gateways"], status["ops"]))


@pytest.fixture
def instance(instances: ModuleType, tmp_path: Path) -> Iterator[Any]:
    with instances.Instance(settings(tmp_path)) as instance:
        instance.ready()
        instance.until(all_ready)
        yield instance


def address_of(instance: Any, engine_id: str) -> str:
    """Where the newest incarnation listens."""
    newest = instance.ask(instance.api, "members")[-1]
    return next(str(member["address"]) for member in newest["members"] if member["engine_id"] == engine_id)


def work(instance: Any, engine_id: str, **options: Any) -> None:
    """Let a request run on an engine until the engine is gone."""

    async def main() -> None:
        async with await EngineClient.connect(address_of(instance, engine_id), client_id="gateway-0") as client:
            with pytest.raises(EngineDeadError):
                await client.submit([1], request_id="x", **options).result()

    asyncio.run(main())


def story(instance: Any, engine_id: str) -> list[tuple[int, str]]:
    """What gateways were told of an engine until all were ready again: incarnation and state, each once."""

    def are_ready(memberships: Any) -> bool:
        return all(member["status"] == "ready" for member in memberships[-1]["members"])

    told = [
        (member["incarnation"], member["status"])
        for membership in instance.heard("members", are_ready)
        for member in membership["members"]
        if member["engine_id"] == engine_id
    ]
    return list(dict.fromkeys(told))


def test_a_killed_engine_is_seen_at_once_told_and_replaced(instance: Any) -> None:
    victim = instance.engines()["engine-1"]
    killed_ns = time.monotonic_ns()
    os.kill(victim["pid"], signal.SIGKILL)
    instance.event("engine_ended", engine="engine-1", incarnation=1, cause="signal")
    status = instance.until(all_ready)
    (died,) = instance.heard("died")
    assert (died["engine_id"], died["incarnation"], died["cause"], died["aboard"]) == ("engine-1", 1, "signal", [])
    assert died["heard_ns"] - killed_ns < SECOND  # what is measured is far less; a busy machine may take its time
    told = story(instance, "engine-1")
    assert told[told.index((1, "ready")) :] == [
        (1, "ready"), (1, "backoff"), (2, "spawning"), (2, "loading"), (2, "ready"),
    ]  # fmt: skip
    versions = [membership["version"] for membership in instance.ask(instance.api, "members")]
    assert versions == sorted(set(versions))
    assert status["engines"][1]["restarts"] == {"signal": 1}
    assert status["engines"][1]["last_exit"]["message"] == "killed by SIGKILL"
    assert status["engines"][0]["incarnation"] == 1


def test_an_engine_that_dies_in_a_step_names_whom_it_carried(instance: Any) -> None:
    assert instance.order("inject", "engine-0", fault="crash", at_step=5)["accepted"]
    work(instance, "engine-0")
    instance.event("engine_ended", engine="engine-0", cause="signal", aboard=1)
    (died,) = instance.heard("died")
    assert died["aboard"] == [["gateway-0", "x", 1, 0]]
    engine = instance.until(all_ready)["engines"][0]
    assert engine["counters"]["requests_received"] == 1  # kept, though who counted is gone
    assert engine["counters"]["output_tokens"] == 4
    assert engine["running"] == 0


def test_a_stopped_engine_hangs_moments_after_the_floor_and_is_replaced(instance: Any) -> None:
    victim = instance.engines()["engine-0"]
    stopped_ns = time.monotonic_ns()
    os.kill(victim["pid"], signal.SIGSTOP)
    instance.event("engine_ended", engine="engine-0", cause="hang")
    instance.until(all_ready)
    (died,) = instance.heard("died")
    assert died["message"].startswith("no sign of life for ")
    assert 1.2 * SECOND < died["detected_ns"] - stopped_ns < 6 * SECOND
    told = story(instance, "engine-0")
    assert told[told.index((1, "ready")) :][:3] == [(1, "ready"), (1, "hung"), (1, "backoff")]


def test_an_endless_step_hangs_and_names_whom_it_carried(instance: Any) -> None:
    assert instance.order("inject", "engine-0", fault="endless_step", at_step=3)["accepted"]
    work(instance, "engine-0")
    instance.event("engine_ended", engine="engine-0", cause="hang", aboard=1)
    (died,) = instance.heard("died")
    assert died["message"].startswith("step 3 has run for ")


def test_an_exception_is_told_with_its_last_words(instance: Any) -> None:
    assert instance.order("inject", "engine-0", fault="exception", at_step=5)["accepted"]
    work(instance, "engine-0")
    ended = instance.event("engine_ended", engine="engine-0", cause="exception")
    assert ended["message"].startswith("exit status 70: exception: InjectedFaultError: ")
    instance.until(all_ready)


def test_an_unknown_fault_is_refused_by_the_engine(instance: Any) -> None:
    reply = instance.order("inject", "engine-0", fault="earthquake")
    assert not reply["accepted"]
    assert "earthquake" in reply["message"]


def test_deaths_leave_no_descriptors_files_or_processes_behind(instances: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    with instances.Instance(settings(tmp_path, runtime_dir=str(folder))) as instance:
        instance.ready()
        instance.until(all_ready)
        supervisor = psutil.Process(instance.pid)
        before = (supervisor.num_fds(), len(list(folder.iterdir())), len(instance.family()))
        for _ in range(3):
            status = instance.status()
            for place in (status["engines"][0], status["gateways"][0]):
                os.kill(place["pid"], signal.SIGKILL)
            instance.until(
                lambda now, then=status: (
                    all_ready(now)
                    and now["engines"][0]["incarnation"] > then["engines"][0]["incarnation"]
                    and now["gateways"][0]["incarnation"] > then["gateways"][0]["incarnation"]
                )
            )
        deadline = time.monotonic() + 5
        while (supervisor.num_fds(), len(list(folder.iterdir())), len(instance.family())) != before:
            assert time.monotonic() < deadline, (before, supervisor.num_fds(), sorted(folder.iterdir()))
            time.sleep(0.05)


def test_an_engine_told_by_a_signal_to_drain_leaves_rotation_and_is_replaced(instance: Any) -> None:
    async def main() -> None:
        address = address_of(instance, "engine-0")
        async with await EngineClient.connect(address, client_id="gateway-0") as client:
            running = client.submit([1])
            await anext(running)
            os.kill(instance.engines()["engine-0"]["pid"], signal.SIGTERM)
            instance.until(lambda status: status["engines"][0]["state"] == "draining")

    asyncio.run(main())  # the end of the client is the end of its request, and that of the engine
    instance.event("engine_ended", engine="engine-0", cause="clean", asked=False)
    instance.until(all_ready)


def test_a_killed_gateway_is_replaced_and_what_it_held_is_booked(instance: Any) -> None:
    for line in ("open", "open", "open", "done"):
        instance.ask(instance.api, line)
    assert instance.status()["gateways"][0]["open_requests"] == 2
    _, _, pid = instance.ask(instance.api, "who")
    os.kill(pid, signal.SIGKILL)
    assert instance.ask(instance.api, "who")[:2] == ["gateway-0", 2]  # the connection waited in the backlog
    (gateway,) = instance.until(all_ready)["gateways"]
    assert gateway["restarts"] == {"signal": 1}
    assert gateway["open_requests"] == 0
    counters = gateway["counters"]
    assert (counters["arrivals"], counters["outcome_completed"], counters["outcome_gateway_failed"]) == (3, 1, 2)
    instance.ask(instance.api, "open")
    assert instance.status()["gateways"][0]["counters"]["arrivals"] == 4


def test_a_gateway_whose_loop_stands_still_is_replaced(instances: ModuleType, tmp_path: Path) -> None:
    with instances.Instance(settings(tmp_path)) as instance:
        instance.ready()
        _, _, pid = instance.ask(instance.api, "who")
        os.kill(pid, signal.SIGSTOP)
        ended = instance.event("child_ended", child="gateway-0", cause="hang")
        assert ended["message"].startswith("no beat for 5.")
        assert instance.ask(instance.api, "who")[:2] == ["gateway-0", 2]


def test_a_killed_ops_is_replaced(instance: Any) -> None:
    os.kill(instance.status()["ops"]["pid"], signal.SIGKILL)
    assert instance.until(all_ready)["ops"]["incarnation"] == 2


@pytest.mark.skipif(find_server() is None, reason="no redis-server here")
def test_a_killed_redis_is_replaced_at_the_same_socket(instances: ModuleType, tmp_path: Path) -> None:
    with instances.Instance(settings(tmp_path, redis=None)) as instance:
        instance.ready()
        first = instance.until(lambda status: status["redis"]["state"] == "ready")["redis"]
        os.kill(first["pid"], signal.SIGKILL)
        second = instance.until(lambda status: status["redis"]["incarnation"] == 2)["redis"]
        assert second["restarts"] == {"signal": 1}


def flaky_engine(folder: Path, body: str) -> tuple[str, ...]:
    """An engine program that runs `body` first; `starts` is the number of starts before this one."""
    program = folder / "flaky.py"
    program.write_text(
        f"""
import os, runpy, signal, sys
count = {str(folder / "count")!r}
starts = os.path.getsize(count) if os.path.exists(count) else 0
open(count, "a").write("x")
{body}
runpy.run_path({str(Path(__file__).parents[1] / "fakes" / "fake_engine.py")!r}, run_name="__main__")
"""
    )
    return (sys.executable, str(program))


def one(folder: Path, **restart: Any) -> dict[str, Any]:
    """One engine."""
    return settings(
        folder,
        models=[{"name": "fake", "model": str(folder), "engines": 1}],
        restart={"backoff_base_s": 0.02, **restart},
    )


def test_an_engine_killed_while_it_starts_is_started_again(instances: ModuleType, tmp_path: Path) -> None:
    engine = flaky_engine(tmp_path, "if starts < 2: os.kill(os.getpid(), signal.SIGKILL)")
    with instances.Instance(one(tmp_path), engine=engine) as instance:
        instance.ready()
        engine_0 = instance.engines()["engine-0"]
        assert (engine_0["incarnation"], engine_0["restarts"]) == (3, {"failed_start": 2})


def test_an_engine_that_never_gets_ready_is_killed_at_the_deadline(instances: ModuleType, tmp_path: Path) -> None:
    engine = flaky_engine(tmp_path, "import time\nif starts < 1: time.sleep(60)")
    with instances.Instance(one(tmp_path, start_timeout_s=1.5), engine=engine) as instance:
        instance.ready()
        ended = instance.event("engine_ended", cause="failed_start")
        assert ended["message"] == "not ready within 1.5 s; killed"


def test_an_engine_that_keeps_dying_is_parked_tried_again_and_comes_back(instances: ModuleType, tmp_path: Path) -> None:
    engine = flaky_engine(tmp_path, "if 1 <= starts < 4: sys.exit('the weights are gone')")
    given = one(tmp_path, intensity=2, retry_parked_s=0.5)
    with instances.Instance(given, engine=engine) as instance:
        instance.ready()
        os.kill(instance.engines()["engine-0"]["pid"], signal.SIGKILL)
        parked = instance.until(lambda status: status["engines"][0]["state"] == "parked")
        assert parked["engines"][0]["last_exit"]["message"] == "exit status 1: the weights are gone"
        assert parked["models"][0]["hopeless"]
        assert not parked["ready"]
        back = instance.until(all_ready)
        assert back["engines"][0]["restarts"] == {"signal": 1, "failed_start": 3}
        assert not back["models"][0]["hopeless"]


def test_when_no_engine_is_left_and_none_can_be_started_it_ends_with_status_1(
    instances: ModuleType, tmp_path: Path
) -> None:
    engine = flaky_engine(tmp_path, "if 1 <= starts: sys.exit('the weights are gone')")
    given = one(tmp_path, intensity=1, retry_parked_s=0.2)
    with instances.Instance(given, engine=engine) as instance:
        instance.ready()
        family = instance.family()
        os.kill(instance.engines()["engine-0"]["pid"], signal.SIGKILL)
        assert instance.ended() == 1
        assert "the weights are gone" in instance.event("no_engine_left")["message"]
        instances.gone(family, 0)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.stderr.write('spillway_engine: dtype is x\\n'); sys.exit(2)", "exit status 2: spillway_engine: dtype"),
        ("sys.exit('no such model')", "exit status 1: no such model"),
    ],
)
def test_an_engine_that_says_it_cannot_start_ends_everything_with_its_line(
    instances: ModuleType, tmp_path: Path, body: str, said: str
) -> None:
    with instances.Instance(settings(tmp_path), engine=flaky_engine(tmp_path, body)) as instance:
        assert instance.ended() == 1
        assert any(said in line and "cannot start" in line for line in instance.plain), instance.plain
        assert (tmp_path / "count").stat().st_size <= 2 * 6  # it is not tried for ever, nor until it is parked


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_the_supervisors_death_takes_every_child_and_every_port(instances: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    given = settings(tmp_path, redis=None, gateways=2, runtime_dir=str(folder))
    with instances.Instance(given) as instance:
        instance.ready()
        instance.until(all_ready)
        family = instance.family()
        assert len(family) >= 5
        instance.process.kill()
        instances.gone(family)
        assert instances.is_free(instance.api)
        assert instances.is_free(instance.ops)
        assert {file.suffix for file in folder.iterdir()} >= {".page", ".tally", ".sock"}
        assert instance.ended() == -signal.SIGKILL

    port = int(instance.api.rpartition(":")[2])
    again = {**given, "network": {"port": port, "ops_port": 0}}
    with instances.Instance(again) as successor:
        successor.ready()
        assert successor.api == instance.api
        assert not list(folder.glob("*.9.page"))
        successor.signal(signal.SIGTERM)
        assert successor.ended() == 0
    assert not folder.exists() or list(folder.iterdir()) == []
