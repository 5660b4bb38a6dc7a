"""The ops process, as the supervisor starts it, with a supervisor that says what the test wants."""

import asyncio
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from spillway.settings import NetworkSettings
from spillway_wire.plane import Role


def test_it_greets_its_supervisor_is_ready_and_beats(with_ops: Callable[..., None]) -> None:
    async def test(ops: Any) -> None:
        hello = await ops.supervisor.hello
        beat = await ops.supervisor.beats.get()

        assert (hello.child_id, hello.role, hello.pid) == ("ops", Role.OPS, ops.process.pid)
        assert beat.open_requests == 0
        assert beat.loop_lag_ms < 1000

    with_ops(test)


def test_probes_say_what_the_supervisor_says(with_ops: Callable[..., None], fake_supervisor: ModuleType) -> None:
    async def test(ops: Any) -> None:
        health, ready = await ops.http.get("/health"), await ops.http.get("/ready")
        assert (health.status_code, health.json()) == (200, {"status": "healthy"})
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "reasons": []})

        ops.supervisor.status = fake_supervisor.status(engines=[fake_supervisor.engine(state="parked")], ready=False)
        await ops.http.post("/admin/rolling-restart", headers=ops.admin)  # after an order, nothing old is told

        ready = await ops.http.get("/ready")
        assert ready.status_code == 503
        assert ready.json()["reasons"] == ["model demo: no engine is ready (1 parked)"]

    with_ops(test)


def test_many_scrapes_cost_the_supervisor_few_questions(with_ops: Callable[..., None]) -> None:
    async def test(ops: Any) -> None:
        answers = await asyncio.gather(*(ops.http.get("/metrics") for _ in range(60)))

        assert {answer.status_code for answer in answers} == {200}
        assert all("spillway_supervisor_answers 1.0" in answer.text for answer in answers)
        assert ops.supervisor.num_asked < 60 / 2

    with_ops(test)


def test_a_silent_supervisor_makes_it_unready_and_stops_no_scrape(with_ops: Callable[..., None]) -> None:
    async def test(ops: Any) -> None:
        ops.supervisor.silent = True

        ready, metrics, health, pool = await asyncio.gather(
            ops.http.get("/ready"),
            ops.http.get("/metrics"),
            ops.http.get("/health"),
            ops.http.get("/admin/pool", headers=ops.admin),
        )

        assert health.status_code == 200
        assert ready.status_code == 503
        assert "did not answer within" in ready.json()["reasons"][0]
        assert metrics.status_code == 200
        assert "spillway_supervisor_answers 0.0" in metrics.text
        assert "spillway_engine" not in metrics.text
        assert (pool.status_code, pool.json()["error"]["code"]) == (503, "supervisor_silent")

    with_ops(test)


def test_admin_needs_the_key_and_errors_have_openais_body(with_ops: Callable[..., None]) -> None:
    async def test(ops: Any) -> None:
        wrong = [{}, {"authorization": "Bearer nonsense"}, {"authorization": ops.key}, {"authorization": "Basic abc"}]
        for headers in wrong:
            for method, path in (("GET", "/admin/pool"), ("POST", "/admin/engines/engine-0/drain")):
                answer = await ops.http.request(method, path, headers=headers)
                assert answer.status_code == 401
                assert {"message", "type", "param", "code"} <= answer.json()["error"].keys()
                assert answer.headers["www-authenticate"].startswith("Bearer")
        assert ops.supervisor.orders == []

        answer = await ops.http.get("/admin/pool", headers=ops.admin)
        assert (answer.status_code, answer.json()) == (200, ops.supervisor.status)

        for method, path, expected in (("GET", "/nothing", 404), ("DELETE", "/ready", 405)):
            answer = await ops.http.request(method, path, headers=ops.admin)
            assert answer.status_code == expected
            assert answer.json()["error"]["type"] == "invalid_request_error"

    with_ops(test)


def test_orders_reach_the_supervisor_and_its_no_reaches_the_caller(with_ops: Callable[..., None]) -> None:
    async def test(ops: Any) -> None:
        for path in ("/admin/engines/engine-1/drain", "/admin/engines/engine-0/restart", "/admin/rolling-restart"):
            answer = await ops.http.post(path, headers=ops.admin)
            assert answer.status_code == 202
        assert [(order.kind.value, order.target) for order in ops.supervisor.orders] == [
            ("drain_engine", "engine-1"),
            ("restart_engine", "engine-0"),
            ("rolling_restart", ""),
        ]

        unknown = await ops.http.post("/admin/engines/engine-7/drain", headers=ops.admin)
        assert unknown.status_code == 404
        assert "engine-0, engine-1" in unknown.json()["error"]["message"]

        ops.supervisor.accept = False
        refused = await ops.http.post("/admin/engines/engine-1/restart", headers=ops.admin)
        assert (refused.status_code, refused.json()["error"]["message"]) == (409, "it is parked")

    with_ops(test)


def test_faults_are_ordered_only_with_chaos(with_ops: Callable[..., None]) -> None:
    body = {"engine": "engine-0", "fault": "slow_step", "value": 0.5, "num_steps": 3}

    async def forbidden(ops: Any) -> None:
        answer = await ops.http.post("/admin/faults", headers=ops.admin, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "chaos_disabled")
        assert ops.supervisor.orders == []

    async def allowed(ops: Any) -> None:
        answer = await ops.http.post("/admin/faults", headers=ops.admin, json=body)
        assert answer.status_code == 202
        (order,) = ops.supervisor.orders
        assert (order.kind.value, order.target) == ("inject", "engine-0")
        assert order.options == {"fault": "slow_step", "at_step": None, "value": 0.5, "num_steps": 3}

        for wrong in (
            b"",
            b"[]",
            b'{"engine": "engine-0"}',
            b'{"engine": "engine-0", "fault": "crash", "typo": 1}',
            b"\xff",
        ):
            answer = await ops.http.post("/admin/faults", headers=ops.admin, content=wrong)
            assert answer.status_code == 400, wrong
        answer = await ops.http.post("/admin/faults", headers=ops.admin, content=b" " * 100_000)
        assert answer.status_code == 413

    with_ops(forbidden)
    with_ops(allowed, chaos=True)


def test_on_an_open_address_its_pages_need_the_key_and_its_probes_do_not(with_ops: Callable[..., None]) -> None:
    async def test(ops: Any) -> None:
        assert (await ops.http.get("/health")).status_code == 200
        assert (await ops.http.get("/ready")).status_code == 200
        assert (await ops.http.get("/metrics")).status_code == 401
        assert (await ops.http.get("/metrics", headers=ops.admin)).status_code == 200

    with_ops(test, network=NetworkSettings(ops_host="0.0.0.0"))  # noqa: S104 - the listener of the test is loopback's


def test_it_ends_with_its_supervisors_link_and_on_a_signal(with_ops: Callable[..., None]) -> None:
    async def link_lost(ops: Any) -> None:
        for wire in list(ops.supervisor.wires):
            wire.abort("gone")
        assert await ops.ended() == 1

    async def signalled(ops: Any) -> None:
        ops.process.send_signal(signal.SIGTERM)
        assert await ops.ended() == 0

    with_ops(link_lost)
    with_ops(signalled)


def test_the_admin_key_is_its_owners_alone(with_ops: Callable[..., None], tmp_path: Path) -> None:
    async def test(ops: Any) -> None:
        assert stat.S_IMODE((tmp_path / "state" / "admin.key").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
        assert len(ops.key) == 64

    with_ops(test)


def test_metrics_come_in_the_form_that_the_scraper_reads(with_ops: Callable[..., None]) -> None:
    prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
    forms = {
        prometheus: "application/openmetrics-text",
        "*/*": "text/plain",
        "": "text/plain",
        "application/openmetrics-text; version=abc": "application/openmetrics-text",
        "text/plain; version=1..0": "text/plain",
    }

    async def test(ops: Any) -> None:
        for accept, form in forms.items():
            answer = await ops.http.get("/metrics", headers={"accept": accept})
            assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, form)
            assert answer.text.endswith("# EOF\n") == (form == "application/openmetrics-text")

    with_ops(test)
