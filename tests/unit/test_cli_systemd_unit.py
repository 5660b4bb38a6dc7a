"""The systemd unit fits the program: its settings exist, and it leaves time to drain."""

from pathlib import Path

import pytest

from spillway.configuration.keys import every_key
from spillway.configuration.layers import environment_layer
from spillway.errors import UsageError
from spillway.settings import Settings

UNIT = Path(__file__).parents[2] / "platform" / "systemd" / "spillway.service"


@pytest.fixture(scope="module")
def directives() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_its_variables_are_settings(directives: dict[str, list[str]]) -> None:
    given = dict(line.split("=", 1) for line in directives["Environment"])
    ours = {name: value for name, value in given.items() if name.startswith("SPILLWAY_")}

    assert ours.keys() <= {key.variable for key in every_key()}
    assert environment_layer(ours).values["state_dir"].value == "/var/lib/spillway"


def test_only_the_supervisor_is_told_to_stop_and_it_has_time_to_drain(directives: dict[str, list[str]]) -> None:
    drain = Settings().drain

    assert directives["KillMode"] == ["mixed"]
    assert float(directives["TimeoutStopSec"][0]) > drain.grace_s + drain.timeout_s + 10


def test_a_wrong_setting_is_not_tried_again(directives: dict[str, list[str]]) -> None:
    assert directives["Restart"] == ["on-failure"]
    assert directives["RestartPreventExitStatus"] == [str(UsageError.exit_status)]
