"""The commands that ask a running instance, its answers in one line, and whose certificate they trust."""

import asyncio
import json
import socket
import ssl
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spillway.cli import Surroundings, main
from spillway.settings import NetworkSettings
from spillway.state import Instance, StateFolder
from spillway_wire.plane import Reload

NOBODY = "http://127.0.0.1:1"
"""Where nobody listens."""


def test_status_drain_and_restart_work_from_the_command_line(
    with_ops: Callable[..., None], fake_supervisor: ModuleType
) -> None:
    async def test(ops: Any) -> None:
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

    async def test(ops: Any) -> None:
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

    async def test(ops: Any) -> None:
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
    with_ops: Callable[..., None], certificates: Callable[[str], tuple[Path, Path]]
) -> None:
    files = {name: tuple(map(str, certificates(name))) for name in ("ours", "other")}
    certificate, key = files["ours"]

    async def test(ops: Any) -> None:
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


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_the_doctor_knows_spillway_by_its_announcement_and_a_port_of_others_by_theirs(
    with_ops: Callable[..., None], certificates: Callable[[str], tuple[Path, Path]], *, secure: bool
) -> None:
    certificate, key = map(str, certificates("ours"))
    network = NetworkSettings(tls_certificate=certificate, tls_key=key) if secure else NetworkSettings()

    async def ports(ops: Any, *flags: str) -> tuple[str, str]:
        """What the doctor finds of the ports, with the settings of the instance."""
        out, state = StringIO(), ops.supervisor.runtime.read_settings().state_dir
        around = Surroundings(environment={}, folder=Path(state), out=out, err=StringIO())
        words = ["doctor", "--json", "--state-dir", state, "--port", "0", "--ops-port", str(ops.http.base_url.port)]
        await asyncio.to_thread(main, [*words, *flags], around)
        (found,) = [each for each in json.loads(out.getvalue())["findings"] if each["name"] == "ports"]
        return found["level"], found["found"]

    async def test(ops: Any) -> None:
        ours = ops.http.base_url.port
        level, found = await ports(ops)
        assert (level, f"port {ours} " in found) == ("missing", True), "nothing was announced"

        state = StateFolder(Path(ops.supervisor.runtime.read_settings().state_dir))
        announced = Instance(pid=4711, api=NOBODY, ops=str(ops.http.base_url), tls_certificate=network.tls_certificate)
        state.announce(announced)
        assert await ports(ops) == ("ok", f"Spillway runs there: process 4711 listens on {ours}")

        with socket.create_server(("127.0.0.1", 0)) as stranger:
            theirs = stranger.getsockname()[1]
            level, found = await ports(ops, "--port", str(theirs))
        assert (level, f"port {theirs} " in found, f"port {ours} " in found) == ("missing", True, False)

        left_over = Instance(pid=4711, api=str(ops.http.base_url), ops=NOBODY)  # by one that was killed
        state.announce(left_over)
        assert (await ports(ops))[0] == "missing"

    with_ops(test, network=network)
