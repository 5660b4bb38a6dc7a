"""The pipeline: steps in order, what comes after a failure is left out, and one report."""

import json
from pathlib import Path

import pytest

from spillway_chaos.command import main
from spillway_chaos.errors import UsageError
from spillway_chaos.pipeline import run as pipeline
from spillway_chaos.pipeline import steps
from spillway_chaos.pipeline.steps import PipelineStep


def step(name: str, code: str, **more: object) -> PipelineStep:
    return PipelineStep(name=name, about=name, command=("{python}", "-c", code), **more)  # type: ignore[arg-type]


STEPS = (
    step("good", "print('fine'); print({1: 2})".replace("{1: 2}", "12")),
    step("bad", "print('oh'); raise SystemExit(3)"),
    step("needs good", "pass", after=("good",)),
    step("needs bad", "pass", after=("bad",)),
    step("endless", "import time; time.sleep(600)", timeout_s=0.5),
)


def test_everything_is_tried_but_what_comes_after_a_failure(tmp_path: Path) -> None:
    report = pipeline.run(STEPS, tmp_path, None)
    assert not report.passed
    done = {each.name: (each.status, each.exit) for each in report.steps}
    assert done == {
        "good": ("passed", 0), "bad": ("failed", 3), "needs good": ("passed", 0), "needs bad": ("left out", None),
        "endless": ("failed", 124),
    }  # fmt: skip
    assert (tmp_path / "good.log").read_text() == "fine\n12\n"
    said = json.loads((tmp_path / "report.json").read_text())
    assert [each["tail"] for each in said["steps"]][:2] == [["fine", "12"], ["oh"]]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "left out, since bad did not pass" in page


def test_a_platform_that_does_not_answer_fails_the_step_that_needs_it(tmp_path: Path) -> None:
    report = pipeline.run((step("load", "pass", needs_platform=True),), tmp_path, "http://127.0.0.1:9")
    assert (report.steps[0].status, report.steps[0].exit) == ("failed", 3)
    assert report.steps[0].tail[0].startswith("nothing answers at http://127.0.0.1:9")


def test_the_shipped_pipeline_is_build_tests_load_and_drills() -> None:
    assert [each.name for each in steps.load(None)] == [
        "build", "unit", "integration", "end-to-end", "load", "drills", "scorecard"
    ]  # fmt: skip
    (drills,) = steps.chosen(steps.load(None), ("drills",))
    assert drills.after == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[steps]]\nname = 'a'\nabout = ''\ncommand = []", "command"),
        ("[[steps]]\nname = 'a'\nabout = ''\ncommand = ['true']\nafter = ['b']", "comes after 'b', which is no step"),
        ("steps = 1", "steps"),
    ],
    ids=["command", "after", "steps"],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "pipeline.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=why):
        steps.load(file)


def test_the_command_tells_by_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "pipeline.toml"
    for code, status in (("0", 0), ("1", 1)):
        file.write_text(
            f"[[steps]]\nname = 'a'\nabout = 'b'\ncommand = ['{{python}}', '-c', 'raise SystemExit({code})']"
        )
        assert main(["pipeline", "--steps", str(file), "--out", "out"]) == status
        assert "out/report.html" in capsys.readouterr().out
