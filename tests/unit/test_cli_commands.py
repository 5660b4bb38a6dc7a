"""The command line: which command runs, what a slip is answered with, and what the exit status says."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spillway import cli
from spillway.cli import Surroundings, main
from spillway.settings import Settings
from spillway.state import Instance, StateFolder


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    return Surroundings(environment={"XDG_STATE_HOME": str(tmp_path)}, folder=tmp_path, out=StringIO(), err=StringIO())


def told(around: Surroundings) -> str:
    assert isinstance(around.err, StringIO)
    lines = around.err.getvalue().splitlines()
    assert len(lines) == 1, "an error is one line"
    return lines[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["serv"], "spillway: 'serv' is no command (did you mean serve?)"),
        (["fly"], "spillway: 'fly' is no command; there are: serve, status"),
        (["serve", "--prot", "1"], "spillway: --prot is no argument of spillway serve (did you mean --port?)"),
        (["serve", "--dtype", "x"], "spillway: --dtype is no argument of spillway serve; an engine's own settings are"),
        (["serve", "extra"], "spillway: extra is no argument of spillway serve"),
        (["serve", "--port"], "spillway: argument --port: expected one argument; see spillway serve --help"),
        (["serve", "--port", "x"], "spillway: --port is 'x'; it must be a whole number, from 0 to 65535"),
        (["serve", "--po", "1"], "spillway: --po is no argument of spillway serve"),
        (["status", "--json", "--once"], "spillway: argument --once: not allowed with argument --json"),
        (["drain"], "spillway: the following arguments are required: ENGINE"),
        (["restart"], "spillway: name one engine, or say --rolling for all of them"),
        (["restart", "engine-0", "--rolling"], "spillway: name one engine, or say --rolling for all of them"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(around: Surroundings, words: list[str], message: str) -> None:
    assert main(words, around) == 2
    assert told(around).startswith(message)


def test_without_a_command_the_commands_are_listed(around: Surroundings) -> None:
    assert main([], around) == 2
    assert main(["--help"], around) == 0
    assert isinstance(around.out, StringIO)
    assert all(f"\n  {name} " in around.out.getvalue() for name in cli.COMMANDS)


def test_every_command_explains_itself(around: Surroundings, capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.COMMANDS:
        assert main([name, "--help"], around) == 0
        text = capsys.readouterr().out
        assert text.startswith(f"usage: spillway {name}")
        assert "--debug" in text


def test_version_is_told(around: Surroundings) -> None:
    assert main(["--version"], around) == 0
    assert isinstance(around.out, StringIO)
    assert around.out.getvalue().startswith("spillway ")


def test_a_package_adds_a_command_by_an_entry_point(around: Surroundings, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(group: str, name: str = "chaos") -> list[EntryPoint]:
        assert group == "spillway.commands"
        entry = SimpleNamespace(name="chaos", module="drills", load=lambda: lambda rest: len(rest) + 40)
        return [entry] if name == "chaos" else []  # type: ignore[list-item]

    monkeypatch.setattr("importlib.metadata.entry_points", found)

    assert main(["chaos", "run", "drill"], around) == 42
    assert main(["--help"], around) == 0
    assert isinstance(around.out, StringIO)
    assert "\n  chaos     run drills" in around.out.getvalue()


def test_only_commands_that_are_there_are_listed_and_all_of_them_can_be_run(around: Surroundings) -> None:
    assert main(["--help"], around) == 0
    assert isinstance(around.out, StringIO)
    listed = {line.split()[0] for line in around.out.getvalue().splitlines() if line.startswith("  ")}
    added = {entry.name for entry in entry_points(group="spillway.commands")}
    assert listed == added | set(cli.COMMANDS)


# ---- when nothing runs ----


def test_asking_where_nothing_ever_ran_says_how_to_start(around: Surroundings) -> None:
    for words in (["status"], ["drain", "engine-0"], ["restart", "--rolling"]):
        assert isinstance(around.err, StringIO)
        around.err.seek(0)
        around.err.truncate()
        assert main(words, around) == 1
        assert "start one with `spillway serve`, or name its folder with --state-dir" in told(around)


def test_asking_an_instance_that_is_gone_names_its_address_and_process(around: Surroundings, tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "spillway")
    state.create()
    state.announce(Instance(pid=4711, api="http://127.0.0.1:1", ops="http://127.0.0.1:1"))

    assert main(["status"], around) == 1
    assert "nothing answers at http://127.0.0.1:1 (it was announced by process 4711)" in told(around)


# ---- serve ----


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A supervisor that does what the test says."""
    fake = SimpleNamespace(run=None)
    monkeypatch.setitem(sys.modules, "spillway.supervisor.main", fake)
    return fake


def test_serve_prints_one_ready_line_and_announces_the_instance_while_it_runs(
    around: Surroundings, supervisor: SimpleNamespace, tmp_path: Path
) -> None:
    state = StateFolder(tmp_path / "spillway")
    seen: list[Any] = []

    def run(settings: Settings, *, on_ready: Callable[..., None], on_progress: Any, log: Any, reload: Any) -> int:
        on_progress("engine-0", "loading", "weights 50%")
        log("restart_in", engine="engine-0", seconds=0.1)
        on_ready("http://127.0.0.1:8000", "http://127.0.0.1:8001")
        seen.extend([settings, state.instance(), reload()])
        return 7

    supervisor.run = run

    assert main(["serve", "--gateways", "2"], around) == 7
    settings, instance, again = seen
    assert settings.gateways == 2
    assert again == settings
    assert (instance.api, instance.ops) == ("http://127.0.0.1:8000", "http://127.0.0.1:8001")
    assert isinstance(around.out, StringIO)
    assert isinstance(around.err, StringIO)
    assert around.out.getvalue() == "ready api=http://127.0.0.1:8000 ops=http://127.0.0.1:8001\n"
    said = [json.loads(line) for line in around.err.getvalue().splitlines()]
    assert [(line["event"], line.get("doing"), line.get("seconds")) for line in said] == [
        ("child_progress", "weights", None),
        ("restart_in", None, 0.1),
    ]
    assert state.instance() is None
    assert len(state.admin_key()) == 64


def test_an_error_is_one_line_and_with_debug_a_trace(around: Surroundings, supervisor: SimpleNamespace) -> None:
    def run(*_: object, **__: object) -> int:
        raise RuntimeError("two\nlines")

    supervisor.run = run

    assert main(["serve"], around) == 1
    assert told(around) == "spillway: RuntimeError: two lines; run it again with --debug to see where"
    with pytest.raises(RuntimeError):
        main(["serve", "--debug"], around)


def test_a_state_folder_that_cannot_be_used_keeps_serve_from_starting(around: Surroundings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert main(["serve", "--state-dir", str(tmp_path / "file" / "state")], around) == 1
    assert told(around).endswith("give another with --state-dir")


def test_the_supervisor_imports_nothing_heavy() -> None:
    program = (
        "import sys; import spillway.commands.serve, spillway.supervisor.main;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    heavy = {
        "torch",
        "transformers",
        "tokenizers",
        "numpy",
        "litestar",
        "uvicorn",
        "httpx",
        "rich",
        "redis",
        "pydantic",
    }
    assert heavy & set(done.stdout.split()) == set()


def test_a_command_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch, around: Surroundings) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: [])
    assert main(["chaos", "run"], around) == 2
    assert "spillway: the command 'chaos' is not part of this version; there are: serve, status" in told(around)
