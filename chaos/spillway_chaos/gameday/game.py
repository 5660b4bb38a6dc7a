"""The day itself: the plan is in its folder before anything starts; the sheet, when all is over."""

import datetime as dt
import sys
import time
from pathlib import Path

import msgspec

from spillway_chaos import journal, telling
from spillway_chaos.drill import Drill
from spillway_chaos.gameday.plan import GamePlan, to_plain
from spillway_chaos.gameday.review import Review, review
from spillway_chaos.journal import Journal
from spillway_chaos.judging.verdict import ControlVerdict, Told, exit_status
from spillway_chaos.pages import render
from spillway_chaos.runner import Run
from spillway_chaos.timeline import timeline


def play(plan: GamePlan, drill: Drill, home: Path) -> int:
    """Play it, and return the drill's exit status."""
    folder = home / "games" / plan.written.strftime("%Y%m%dT%H%M%SZ")
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "plan.json", to_plain(plan, hide=True))
    sys.stdout.write(f"hypothesis: {plan.hypothesis}\n{folder / 'plan.json'}\n")
    tell = telling.Live(drill, seed=plan.seed, control=False, quiet=plan.is_surprise)
    found = Run(drill, seed=plan.seed, control=False, tell=tell.say).go()
    journal.write(found, home)
    moments = timeline(found)
    today = dt.datetime.fromtimestamp(time.time(), dt.UTC).date()
    sheet = review(plan, drill, found, _had_control(home, drill), today)
    _write(folder / "plan.json", to_plain(plan, hide=False))
    _write(folder / "timeline.json", msgspec.to_builtins(moments))
    _write(folder / "review.json", msgspec.to_builtins(sheet))
    page = render("gameday.html.j2", plan=plan, drill=drill, found=found, moments=moments, sheet=sheet)
    (folder / "review.html").write_text(page, encoding="utf-8")
    sys.stdout.write(telling.result(found) + _said(sheet) + f"{folder / 'review.html'}\n")
    return exit_status(Told((found.verdict,), ()))


def _had_control(home: Path, drill: Drill) -> bool:
    runs: list[Journal] = [each for each in journal.read_all(home) if each.drill == drill.name and each.is_control]
    return bool(runs) and runs[-1].control_verdict is ControlVerdict.RED


def _said(sheet: Review) -> str:
    lines = [f"the hypothesis {'held' if sheet.held else 'did not hold'}; overall {sheet.overall:.1f} of 5"]
    lines += [f"  {rating.points}  {rating.criterion:15}{rating.measured}" for rating in sheet.ratings]
    lines += [f"  to do: {action.what} ({action.owner or 'nobody'}, by {action.due})" for action in sheet.actions]
    return "\n".join(lines) + "\n"


def _write(path: Path, value: object) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value)))
