"""`spillway chaos` on the command line, and Chaos Toolkit's own opinion of the drills."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from spillway_chaos import drill as drills
from spillway_chaos import journal
from spillway_chaos.command import main

VALIDATE = """
import sys, yaml
from chaoslib.experiment import ensure_experiment_is_valid
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        ensure_experiment_is_valid(yaml.safe_load(file))
    print(path)
"""


def test_every_drill_is_a_valid_experiment_of_chaos_toolkit() -> None:
    paths = [str(path) for path in drills.shipped().values()]
    done = subprocess.run([sys.executable, "-c", VALIDATE, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == paths


def test_drills_are_listed_with_their_faults_and_controls(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert "engine-kill           quick" in said
    assert "engine-sigkill; control: without going on elsewhere" in said


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["run", "engine-kil"], "did you mean 'engine-kill'"),
        (["run", "engine-kill", "--times", "0"], "0 is not from 1 to 1000"),
        (["rnu"], "invalid choice: 'rnu'"),
        ([], "required: COMMAND"),
        (["gameday", "engine-kill"], "--hypothesis"),
        (["gameday", "engine-kill", "--hypothesis", " "], "--hypothesis is empty"),
        (["scorecard", "--loop", "nowhere.toml"], "nowhere.toml cannot be read"),
        (["loop", "--every", "1 day"], "'1 day' is no duration"),
        (["pipeline", "--only", "luck"], "'luck' is no step"),
    ],
    ids=["drill", "times", "command", "nothing", "hypothesis", "empty hypothesis", "loop", "every", "step"],
)
def test_what_makes_no_sense_is_refused_with_status_2(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert why in said
    assert len(said.splitlines()) == 1


def test_a_scorecard_is_drawn_up_from_journals(
    fake_drill: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kill = drills.load("engine-kill")
    path = journal.write(fake_drill.journal(kill, at=journal.now() - 60), tmp_path)
    assert path.parent == tmp_path / "journals" / "engine-kill"
    (tmp_path / "journals" / "engine-kill" / "broken.json").write_text("{")
    assert len(journal.read_all(tmp_path)) == 1
    for change in ("", "(+0.0)"):
        assert main(["scorecard", "--home", str(tmp_path)]) == 0
        said = capsys.readouterr().out
        assert f"of 100{' ' + change if change else ','}" in said
    cards = sorted((tmp_path / "scorecards").glob("*.json"))
    card = json.loads(cards[-1].read_text())
    (result,) = [each for each in card["results"] if each["drill"] == "engine-kill"]
    assert (result["standing"], result["points"]) == ("held", 75.0)
