"""The supervisor as a process, with light children: start, orders, standby, and every way to end in good order."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """Two engines, free ports, no waiting at the end."""
    given: dict[str, Any] = {
        "models": [{"name": "fake", "model": str(folder), "engines": 2, "aliases": ["f"]}],
        "network": {"port": 0, "ops_port": 0},
        "drain": {"grace_s": 0.0, "timeout_s": 10.0},
        "restart": {"backoff_base_s": 0.02},
        "redis": "redis://not-needed",
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


def states(status: Any) -> list[str]:
    return [engine["state"] for engine in status["engines"]]


# ---- start ----


def test_it_is_ready_when_a_request_sent_now_would_be_served(instance: Any) -> None:
    status = instance.status()
    assert status["ready"]
    assert status["phase"] == "serving"
    assert status["urls"] == {"api": instance.api, "ops": instance.ops}
    assert status["models"] == [
        {
            "name": "fake",
            "path": status["models"][0]["path"],
            "aliases": ["f"],
            "num_engines": 2,
            "num_ready": 2,
            "hopeless": False,
        }
    ]
    assert status["redis"] == {"pid": None, "state": "external"}
    assert status["engines"][0]["kv_blocks"] == {"total": 8, "free": 8, "size": 16}
    assert status["engines"][0]["exactness"] == "exact"
    assert status["supervisor"]["pid"] == instance.pid
    assert instance.heard("phases") == ["serving"]


def test_it_stays_small(instance: Any) -> None:
    memory = psutil.Process(instance.pid).memory_info().rss
    assert memory < 60e6
    assert instance.status()["supervisor"]["rss_bytes"] == pytest.approx(memory, rel=0.1)


def test_children_get_their_settings_and_share_one_socket(instances: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    with instances.Instance(settings(tmp_path, gateways=2, runtime_dir=str(folder))) as instance:
        instance.ready()
        instance.until(all_ready)
        assert (folder / "settings.json").stat().st_mode & 0o777 == 0o600
        answered = {instance.ask(instance.api, "who")[0] for _ in range(200)}
        assert answered <= {"gateway-0", "gateway-1"}


def test_a_taken_port_is_one_line_and_status_1(instances: ModuleType, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with instances.Instance(settings(tmp_path, network={"port": port, "ops_port": 0})) as instance:
            assert instance.ended() == 1
            (line,) = instance.plain
            assert f"port {port} (setting port): another process does" in line


def test_a_folder_in_use_is_refused_with_the_pid_of_its_owner(instances: ModuleType, tmp_path: Path) -> None:
    given = settings(tmp_path, runtime_dir=str(tmp_path / "r"))
    with instances.Instance(given) as first:
        first.ready()
        with instances.Instance(given) as second:
            assert second.ended() == 1
            assert f"in use by process {first.pid}" in second.plain[0]
        assert first.status()["ready"]


# ---- orders ----


def test_a_drained_engine_stays_stopped_until_a_restart_is_ordered(instance: Any) -> None:
    assert instance.order("drain_engine", "engine-0")["accepted"]
    status = instance.until(lambda status: states(status) == ["stopped", "ready"])
    assert status["ready"]
    assert status["engines"][0]["last_exit"]["cause"] == "clean"
    assert instance.order("restart_engine", "engine-0")["accepted"]
    status = instance.until(all_ready)
    assert (status["engines"][0]["incarnation"], status["engines"][0]["restarts"]) == (2, {})


def test_a_rolling_restart_never_leaves_the_model_without_an_engine(instance: Any) -> None:
    assert instance.order("rolling_restart")["accepted"]
    instance.event("rolling_restart_done")
    status = instance.status()
    assert [engine["incarnation"] for engine in status["engines"]] == [2, 2]
    assert [engine["restarts"] for engine in status["engines"]] == [{"clean": 1}, {"clean": 1}]
    memberships = instance.ask(instance.api, "members")
    first_whole = next(
        place
        for place, membership in enumerate(memberships)
        if all(member["status"] == "ready" for member in membership["members"])
    )
    for membership in memberships[first_whole:]:
        assert any(member["status"] == "ready" for member in membership["members"])


def test_orders_for_nobody_are_refused(instance: Any) -> None:
    reply = instance.order("drain_engine", "engine-9")
    assert (reply["accepted"], reply["message"]) == (
        False,
        "there is no engine 'engine-9'; there are engine-0, engine-1",
    )
    assert not instance.order("inject", "engine-0", fault="crash")["accepted"]  # not started with --chaos


def test_a_standby_takes_over_at_once_and_the_dead_one_becomes_the_standby(
    instances: ModuleType, tmp_path: Path
) -> None:
    models = [{"name": "fake", "model": str(tmp_path), "engines": 1}]
    with instances.Instance(settings(tmp_path, models=models, standby=1)) as instance:
        instance.ready()
        status = instance.until(lambda status: sorted(states(status)) == ["ready", "standby"])
        active = next(engine for engine in status["engines"] if engine["state"] == "ready")
        os.kill(active["pid"], signal.SIGKILL)
        instance.event("engine_ended", engine=active["id"], cause="signal")

        def shows_it(membership: Any) -> bool:
            return any(member["status"] == "backoff" for member in membership["members"])

        memberships = instance.heard("members", lambda memberships: any(map(shows_it, memberships)))
        after = next(filter(shows_it, memberships))
        assert sorted(member["status"] for member in after["members"]) == ["backoff", "ready"]  # in the same breath
        status = instance.until(lambda status: sorted(states(status)) == ["ready", "standby"])
        standby = next(engine for engine in status["engines"] if engine["state"] == "standby")
        assert standby["id"] == active["id"]


# ---- the end ----


def test_with_nothing_in_flight_it_ends_at_once_and_leaves_nothing(instances: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    with instances.Instance(settings(tmp_path, runtime_dir=str(folder))) as instance:
        instance.ready()
        instance.until(all_ready)
        family = instance.family()
        instance.signal(signal.SIGTERM)
        assert instance.ended() == 0
        phases = [event["phase"] for event in instance.events if event["event"] == "phase"]
        assert phases == ["unready", "refusing", "ending"]
        took = [event["at"] for event in instance.events if event["event"] == "phase"]
        assert took[2] - took[0] < 1.0
        ends = {
            event.get("child", event.get("engine")): event["cause"]
            for event in instance.events
            if event["event"] in ("child_ended", "engine_ended")
        }
        assert ends == dict.fromkeys(("gateway-0", "ops", "engine-0", "engine-1"), "clean")
        instances.gone(family, 0)
        assert instances.is_free(instance.api)
    assert not folder.exists()


def test_what_is_in_flight_is_waited_for(instances: ModuleType, tmp_path: Path) -> None:
    with instances.Instance(settings(tmp_path)) as instance:
        instance.ready()
        with instance.connection(instance.api) as say:
            say("open")
            instance.signal(signal.SIGINT)
            phases = instance.heard("phases", lambda phases: "refusing" in phases)
            assert phases == ["serving", "unready", "refusing"]
            assert not instance.status()["ready"]
            say("done")
        assert instance.ended() == 0
        assert instance.event("ending")["open_requests"] == 0


def test_what_does_not_finish_in_time_is_ended(instances: ModuleType, tmp_path: Path) -> None:
    given = settings(tmp_path, drain={"grace_s": 0.2, "timeout_s": 0.3})
    with instances.Instance(given) as instance:
        instance.ready()
        instance.ask(instance.api, "open")
        instance.signal(signal.SIGTERM)
        assert instance.ended() == 0
        assert instance.event("ending")["open_requests"] == 1
        at = {event["phase"]: event["at"] for event in instance.events if event["event"] == "phase"}
        assert 0.19 <= at["refusing"] - at["unready"] < 3
        assert 0.29 <= at["ending"] - at["refusing"] < 3


def test_a_second_signal_hurries(instances: ModuleType, tmp_path: Path) -> None:
    given = settings(tmp_path, drain={"grace_s": 600.0, "timeout_s": 600.0})
    with instances.Instance(given) as instance:
        instance.ready()
        instance.ask(instance.api, "open")
        instance.signal(signal.SIGTERM)
        instance.event("phase", phase="unready")
        instance.signal(signal.SIGTERM)
        assert instance.ended() == 0
        assert instance.event("ending")["open_requests"] == 1


def test_a_third_signal_kills(instances: ModuleType, tmp_path: Path) -> None:
    given = settings(tmp_path, drain={"grace_s": 600.0, "timeout_s": 600.0})
    with instances.Instance(given) as instance:
        instance.ready()
        family = instance.family()
        _, _, pid = instance.ask(instance.api, "who")
        os.kill(pid, signal.SIGSTOP)  # so that it cannot end in good order
        for _ in range(2):
            instance.signal(signal.SIGTERM)
            time.sleep(0.05)  # signals of a kind that come together are one
        instance.event("phase", phase="ending")
        instance.signal(signal.SIGTERM)
        assert instance.ended() == 1
        instances.gone(family, 0)


def test_an_engine_that_dies_during_the_drain_is_still_replaced(instances: ModuleType, tmp_path: Path) -> None:
    with instances.Instance(settings(tmp_path)) as instance:
        instance.ready()
        victim = instance.until(all_ready)["engines"][0]["pid"]
        with instance.connection(instance.api) as say:
            say("open")
            instance.signal(signal.SIGTERM)
            instance.event("phase", phase="refusing")
            os.kill(victim, signal.SIGKILL)
            instance.event("ready", engine="engine-0", incarnation=2)
            say("done")
        assert instance.ended() == 0


def test_a_signal_while_engines_load_ends_it_in_good_order(instances: ModuleType, tmp_path: Path) -> None:
    program = tmp_path / "slow.py"
    program.write_text("import time\ntime.sleep(60)\n")
    with instances.Instance(settings(tmp_path), engine=(sys.executable, str(program))) as instance:
        deadline = time.monotonic() + 10
        while len(instance.family()) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        instance.signal(signal.SIGTERM)
        assert instance.ended() == 0


def test_an_order_to_shut_down_ends_it_like_a_signal(instance: Any) -> None:
    assert instance.order("shut_down")["accepted"]
    assert instance.ended() == 0


def test_a_reader_of_the_log_that_stands_still_does_not_stop_it(instances: ModuleType, tmp_path: Path) -> None:
    with instances.Instance(settings(tmp_path)) as instance:
        instance.ready()
        instance.until(all_ready)
        instance.may_read.clear()
        with instance.connection(instance.ops) as say:
            for _ in range(1_000):  # some 300 bytes of log each: more than a pipe holds
                assert not say(f"order drain_engine {'x' * 200} {{}}")["accepted"]
            assert say("status")["ready"]
        instance.may_read.set()


def test_a_hang_up_reloads_what_can_be_reloaded(instance: Any) -> None:
    instance.signal(signal.SIGHUP)
    assert instance.event("reloaded")["need_restart"] == []
    assert instance.status()["ready"]
