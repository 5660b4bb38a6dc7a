"""The ops process, as the supervisor starts it, with a supervisor that says what the test wants."""

import asyncio
import json
import shutil
import signal
import socket
import ssl
import stat
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
from spillway.settings import NetworkSettings, Settings
from spillway_wire.plane import Reload, Role


@dataclass
class Ops:
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


Test = Callable[[Ops], Awaitable[None]]


@pytest.fixture
def with_ops(fake_supervisor: ModuleType, tmp_path: Path) -> Callable[..., None]:
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

    def run(test: Test, **more: Any) -> None:
        settings = Settings(state_dir=str(tmp_path / "state"), **more)

        async def bounded() -> None:
            async with started(settings) as ops:
                await test(ops)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(bounded())

    return run


def test_it_greets_its_supervisor_is_ready_and_beats(with_ops: Callable[..., None]) -> None:
    async def test(ops: Ops) -> None:
        hello = await ops.supervisor.hello
        beat = await ops.supervisor.beats.get()

        assert (hello.child_id, hello.role, hello.pid) == ("ops", Role.OPS, ops.process.pid)
        assert beat.open_requests == 0
        assert beat.loop_lag_ms < 1000

    with_ops(test)


def test_probes_say_what_the_supervisor_says(with_ops: Callable[..., None], fake_supervisor: ModuleType) -> None:
    async def test(ops: Ops) -> None:
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
    async def test(ops: Ops) -> None:
        answers = await asyncio.gather(*(ops.http.get("/metrics") for _ in range(60)))

        assert {answer.status_code for answer in answers} == {200}
        assert all("spillway_supervisor_answers 1.0" in answer.text for answer in answers)
        assert ops.supervisor.num_asked < 60 / 2

    with_ops(test)


def test_a_silent_supervisor_makes_it_unready_and_stops_no_scrape(with_ops: Callable[..., None]) -> None:
    async def test(ops: Ops) -> None:
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
    async def test(ops: Ops) -> None:
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
    async def test(ops: Ops) -> None:
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

    async def forbidden(ops: Ops) -> None:
        answer = await ops.http.post("/admin/faults", headers=ops.admin, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "chaos_disabled")
        assert ops.supervisor.orders == []

    async def allowed(ops: Ops) -> None:
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
    async def test(ops: Ops) -> None:
        assert (await ops.http.get("/health")).status_code == 200
        assert (await ops.http.get("/ready")).status_code == 200
        assert (await ops.http.get("/metrics")).status_code == 401
        assert (await ops.http.get("/metrics", headers=ops.admin)).status_code == 200

    with_ops(test, network=NetworkSettings(ops_host="0.0.0.0"))  # noqa: S104 - the listener of the test is loopback's


def test_it_ends_with_its_supervisors_link_and_on_a_signal(with_ops: Callable[..., None]) -> None:
    async def link_lost(ops: Ops) -> None:
        for wire in list(ops.supervisor.wires):
            wire.abort("gone")
        assert await ops.ended() == 1

    async def signalled(ops: Ops) -> None:
        ops.process.send_signal(signal.SIGTERM)
        assert await ops.ended() == 0

    with_ops(link_lost)
    with_ops(signalled)


def test_the_admin_key_is_its_owners_alone(with_ops: Callable[..., None], tmp_path: Path) -> None:
    async def test(ops: Ops) -> None:
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

    async def test(ops: Ops) -> None:
        for accept, form in forms.items():
            answer = await ops.http.get("/metrics", headers={"accept": accept})
            assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, form)
            assert answer.text.endswith("# EOF\n") == (form == "application/openmetrics-text")

    with_ops(test)


# ---- the commands that ask it ----


def test_status_drain_and_restart_work_from_the_command_line(
    with_ops: Callable[..., None], fake_supervisor: ModuleType
) -> None:
    async def test(ops: Ops) -> None:
        status, out, _ = await ops.command("status", "--json")
        assert (status, json.loads(out)) == (0, ops.supervisor.status)

        died = fake_supervisor.engine("engine-1", state="backoff", last_exit={"cause": "signal", "message": "SIGKILL"})
        ops.supervisor.status = fake_supervisor.status(engines=[fake_supervisor.engine(model="[red]x"), died])
        status, out, _ = await ops.command("drain", "engine-0")
        assert (status, out) == (0, "drain_engine engine-0\n")
        status, out, _ = await ops.command("status", "--once")
        assert status == 0
        assert "engine-1 ended last (signal): SIGKILL" in out
        assert "[red]x" in out

        status, out, _ = await ops.command("restart", "engine-1")
        assert (status, out) == (0, "restart_engine engine-1\n")
        status, out, _ = await ops.command("restart", "--rolling")
        assert (status, out) == (0, "rolling_restart\n")

    with_ops(test)


def test_a_command_that_is_refused_says_why_in_one_line(with_ops: Callable[..., None], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "admin.key").touch(mode=0o600)
    (other / "admin.key").write_text("0" * 64)

    async def test(ops: Ops) -> None:
        for odd in ("engine-9", "a/b", "..", "%2e", "\u00e9 \N{BULLET}"):
            status, _, err = await ops.command("drain", odd)
            assert (status, err.count("\n")) == (1, 1), odd
        status, _, err = await ops.command("drain", "engine-9")
        assert "there are: engine-0, engine-1" in err

        status, _, err = await ops.command("status", "--state-dir", str(other))
        assert status == 1
        assert "does not accept this machine's admin key" in err
        assert ops.key not in err
        assert ops.supervisor.orders == []

    with_ops(test)


def test_a_reload_shows_the_renewed_certificate_and_one_that_cannot_be_read_changes_nothing(
    with_ops: Callable[..., None], certificates: Callable[[str], tuple[Path, Path]]
) -> None:
    certificate, key = certificates("ours")

    async def test(ops: Ops) -> None:
        address = (str(ops.http.base_url.host), int(ops.http.base_url.port or 0))

        async def shown() -> str:
            return await asyncio.to_thread(ssl.get_server_certificate, address)

        async def reload() -> None:
            ops.supervisor.wires[0].send(Reload())
            await ops.http.post("/admin/rolling-restart", headers=ops.admin)  # answered on the same wire, after it

        first = certificate.read_text()
        assert await shown() == first
        key.write_bytes(certificates("other")[1].read_bytes())  # half of a renewal
        await reload()
        assert await shown() == first

        for old, new in zip((certificate, key), certificates("renewed"), strict=True):
            old.write_bytes(new.read_bytes())
        await reload()
        assert await shown() == certificate.read_text() != first

    with_ops(test, network=NetworkSettings(tls_certificate=str(certificate), tls_key=str(key)))


def test_over_tls_a_command_trusts_the_instances_own_certificate_and_no_other(
    with_ops: Callable[..., None], tmp_path: Path
) -> None:
    files = {name: (str(tmp_path / f"{name}.pem"), str(tmp_path / f"{name}.key")) for name in ("ours", "other")}
    for certificate, key in files.values():
        openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        named = [*openssl, "-subj", "/CN=llm.example.com", "-keyout", key, "-out", certificate]
        subprocess.run(named, check=True, capture_output=True)
    certificate, key = files["ours"]

    async def test(ops: Ops) -> None:
        assert (await ops.http.get("/health")).status_code == 200
        ours = {"SPILLWAY_TLS_CERTIFICATE": certificate, "SPILLWAY_TLS_KEY": key}
        other = dict(zip(ours, files["other"], strict=True))

        status, out, err = await ops.command("status", "--json", **ours)
        assert (status, err) == (0, "")
        assert json.loads(out) == ops.supervisor.status

        status, _, err = await ops.command("status", "--json", **other)
        assert status == 1
        assert "certificate" in err

    with_ops(test, network=NetworkSettings(tls_certificate=certificate, tls_key=key))
