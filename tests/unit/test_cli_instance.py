"""Where commands look for the instance: what listens everywhere is reached over loopback, on both ports."""

from io import StringIO
from pathlib import Path

import pytest

from spillway.cli import Surroundings
from spillway.commands.instance import InstanceClient
from spillway.state import Instance, StateFolder
from spillway.supervisor.sockets import url_of


@pytest.mark.parametrize(
    ("host", "tls", "expected"),
    [
        ("0.0.0.0", False, "http://127.0.0.1:8001"),  # noqa: S104 - shown, not bound
        ("::", True, "https://[::1]:8001"),
        ("", False, "http://127.0.0.1:8001"),
        ("::1", False, "http://[::1]:8001"),
        ("ops.example.com", True, "https://ops.example.com:8001"),
    ],
)
def test_a_url_names_what_can_be_reached(host: str, tls: bool, expected: str) -> None:
    assert url_of(host, 8001, tls=tls) == expected


def test_both_ports_are_those_that_were_announced_and_else_those_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "spillway.toml").write_text('[network]\nhost = "::"\nopen = true\nops_host = "0.0.0.0"\nport = 9000\n')
    around = Surroundings(environment={"XDG_STATE_HOME": str(tmp_path)}, folder=tmp_path, out=StringIO())
    state = StateFolder(tmp_path / "spillway")
    state.create()
    state.admin_key()

    with InstanceClient.find({}, around) as client:
        assert (client.api, client.url) == ("http://[::1]:9000", "http://127.0.0.1:8001")

    state.announce(Instance(pid=4711, api="http://127.0.0.1:7", ops="http://127.0.0.1:8"))
    with InstanceClient.find({}, around) as client:
        assert (client.api, client.url) == ("http://127.0.0.1:7", "http://127.0.0.1:8")
