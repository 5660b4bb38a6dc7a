"""Several drills, one after another: each so many times, then once with its defence turned off."""

import sys
from collections.abc import Sequence
from pathlib import Path

from spillway_chaos import calling, drill, journal, telling
from spillway_chaos.drill import Drill
from spillway_chaos.errors import UsageError
from spillway_chaos.journal import Journal
from spillway_chaos.judging.verdict import Told, Verdict, exit_status
from spillway_chaos.pages import render
from spillway_chaos.pages.picture import picture
from spillway_chaos.runner import Run
from spillway_chaos.timeline import timeline

QUICK = "quick"
ALL = "all"


def names_of(given: Sequence[str]) -> list[str]:
    """Return the drills that are meant: `all`, `quick`, names and files, each once."""
    found: list[str] = []
    for word in given:
        if word == ALL:
            found += drill.shipped()
        elif word == QUICK:
            found += [name for name in drill.shipped() if drill.load(name).is_quick]
        else:
            found.append(word)
    if not found:
        raise UsageError("there is no drill of that kind")
    return list(dict.fromkeys(found))


def check(drills: Sequence[Drill]) -> None:
    """Raise `UsageError` if an activity cannot be called: before anything is started."""
    for each in drills:
        experiment = each.experiment
        for activity in (*experiment.steady_state_hypothesis.probes, *experiment.method, *experiment.rollbacks):
            try:
                calling.function_of(activity)
            except UsageError as error:
                raise UsageError(f"{each.path}: {error}") from None


def run(
    drills: Sequence[Drill], *, times: int, seed: int, with_controls: bool, home: Path, quiet: bool
) -> tuple[int, list[Journal]]:
    """Run them, tell how they ended, keep their journals; return the exit status, and the journals."""
    check(drills)
    kept: list[Journal] = []
    for each in drills:
        for number in range(times):
            kept.append(_one(each, seed + number, home, control=False, quiet=quiet))
            if kept[-1].status == "interrupted":
                raise KeyboardInterrupt
        if with_controls and each.terms.control is not None:
            kept.append(_one(each, seed, home, control=True, quiet=quiet))
            if kept[-1].status == "interrupted":
                raise KeyboardInterrupt
    sys.stdout.write(telling.summary(kept))
    return exit_status(told(kept)), kept


def told(journals: Sequence[Journal]) -> Told:
    """Return what counts for the exit status."""
    return Told(
        tuple(Verdict(each.verdict) for each in journals if not each.is_control),
        tuple(each.control_verdict for each in journals if each.control_verdict is not None),
    )


def _one(each: Drill, seed: int, home: Path, *, control: bool, quiet: bool) -> Journal:
    live = telling.Live(each, seed=seed, control=control, quiet=quiet)
    found = Run(each, seed=seed, control=control, tell=live.say).go()
    path = journal.write(found, home)
    page = render(
        "drill.html.j2",
        found=found,
        mark=telling.mark(found),
        picture=picture(found),
        moments=timeline(found),
    )
    path.with_suffix(".html").write_text(page, encoding="utf-8")
    live.end(found, path.with_suffix(".html"))
    return found
