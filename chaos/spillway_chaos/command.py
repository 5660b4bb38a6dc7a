"""Drills: break something on purpose, under load, and see whether the promise holds.

    spillway chaos list                       what there is
    spillway chaos run NAME…|quick|all        `quick` is `make drill`; each drill is followed by its negative control
    spillway chaos scorecard                  what all runs so far say, drawn up from their journals
    spillway chaos loop [--every 1d]          a round: drills, the largest gaps, a card, who is told; as loop.toml says
    spillway chaos gameday --hypothesis TEXT  a drill, announced or (--surprise) drawn, with a review sheet
    spillway chaos pipeline                   build, tests, load and drills, and one report

Exit statuses of `run`: 0 every promise was shown to hold, and every control turned red; 1 a promise was broken; 2 the
command or a file is wrong; 3 nothing can be concluded of some drill (no steady state before, a fault that did not take
hold, a generator that lagged, an abort); 4 all held, but a control stayed green: that drill is blind.
"""

import argparse
import datetime as dt
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from spillway_chaos import drill as drills
from spillway_chaos import running
from spillway_chaos.errors import ChaosError, UsageError
from spillway_chaos.gameday.game import play
from spillway_chaos.gameday.plan import GamePlan, draw, read_roles
from spillway_chaos.journal import HOME
from spillway_chaos.loop import round as rounds
from spillway_chaos.loop import schedule
from spillway_chaos.loop.delivery import deliver
from spillway_chaos.pipeline import run as pipeline
from spillway_chaos.pipeline.steps import chosen
from spillway_chaos.pipeline.steps import load as load_steps
from spillway_chaos.scorecard import settings


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see spillway chaos --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="spillway chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    commands.add_parser("list", help="the shipped drills, their faults, and what their controls turn off")
    run = commands.add_parser("run", help="run drills, by name or file; `quick`: those of `make drill`; `all`: all")
    run.add_argument("drills", nargs="+", metavar="DRILL")
    run.add_argument("--times", type=_count, default=1, metavar="N", help="repetitions, each with its own seed (1)")
    run.add_argument("--seed", type=int, default=1, help="of the first repetition: victims and moments are drawn by it")
    run.add_argument("--no-control", action="store_true", help="leave the negative controls out")
    run.add_argument("--scorecard", action="store_true", help="draw up a scorecard at the end; `all` always does")
    card = commands.add_parser("scorecard", help="draw up a scorecard from the journals, as HTML and JSON")
    loop = commands.add_parser("loop", help="a round of the loop that loop.toml describes")
    loop.add_argument("--every", metavar="TIME", nargs="?", const="", help="again and again: 6h, 1d; else once")
    game = commands.add_parser("gameday", help="a drill with a hypothesis first and a review after")
    game.add_argument("drill", nargs="?", metavar="DRILL", help="else one is drawn by the seed")
    game.add_argument("--hypothesis", required=True, metavar="TEXT", help="what you believe will happen")
    game.add_argument("--surprise", action="store_true", help="which drill it is, is told at the end")
    game.add_argument("--seed", type=int, help="draws drill, victims and moments (the day's)")
    game.add_argument(
        "--role", action="append", default=[], metavar="ROLE=NAME", help="lead, operator, scribe, observer"
    )
    game.add_argument("--planned", type=float, default=90.0, metavar="S", help="how long it may take, in seconds (90)")
    pipe = commands.add_parser("pipeline", help="build, tests, load, drills: pipeline.toml, and one report")
    pipe.add_argument("--steps", type=Path, metavar="FILE", help="another pipeline.toml")
    pipe.add_argument("--only", action="append", default=[], metavar="STEP", help="this step alone; may be repeated")
    pipe.add_argument("--url", help="a platform for the load; else one is started")
    pipe.add_argument(
        "--out", type=Path, default=Path(".pipeline"), metavar="DIR", help="where the report goes (.pipeline)"
    )
    pipe.add_argument("--every", metavar="TIME", help="again and again: 6h, 1d; else once")
    for each in (card, loop, pipe):
        each.add_argument("--loop", type=Path, metavar="FILE", help="another loop.toml: weights, credit, who is told")
    for each in (run, card, loop, game):
        each.add_argument("--home", type=Path, metavar="DIR", help=f"where journals and cards are kept ({HOME})")
    for each in (run, loop):
        each.add_argument("--quiet", action="store_true", help="only the results")
    return parser


def _count(given: str) -> int:
    number = int(given)
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"{given} is not from 1 to 1000")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        given = _parser().parse_args(arguments)
        return _COMMANDS[given.command](given)
    except ChaosError as error:
        sys.stderr.write(f"spillway chaos: {error}\n")
        return error.exit_status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _run(given: argparse.Namespace) -> int:
    wanted = [drills.load(name) for name in running.names_of(given.drills)]
    home = given.home or Path(HOME)
    status, _ = running.run(
        wanted,
        times=given.times,
        seed=given.seed,
        with_controls=not given.no_control,
        home=home,
        quiet=given.quiet,
    )
    if given.scorecard or running.ALL in given.drills:
        _draw_up(settings.at(settings.load(None), given.home))
    return status


def _list(_: argparse.Namespace) -> int:
    for name in drills.shipped():
        each = drills.load(name)
        kinds = ", ".join(fault.kind for fault in each.terms.faults)
        control = each.terms.control
        off = f"control: without {control.turns_off}" if control else "no control"
        sys.stdout.write(f"{name:22}{'quick  ' if each.is_quick else '       '}{each.experiment.title}\n")
        sys.stdout.write(f"{'':29}{kinds}; {off}\n")
    return 0


def _scorecard(given: argparse.Namespace) -> int:
    _draw_up(settings.at(settings.load(given.loop), given.home))
    return 0


def _draw_up(wanted: settings.LoopSettings) -> None:
    found, as_json, as_html = rounds.keep(wanted)
    sys.stdout.write(f"{rounds.said(found, [])}\n{as_html}\n{as_json}\n")


def _loop(given: argparse.Namespace) -> int:
    wanted = settings.at(settings.load(given.loop), given.home)
    if given.every is None:
        return rounds.one_round(wanted)
    every_s = settings.seconds_of(given.every or wanted.cadence.every)
    return schedule.repeat(lambda: rounds.one_round(wanted), every_s)


def _gameday(given: argparse.Namespace) -> int:
    now = dt.datetime.now(dt.UTC)
    seed = now.toordinal() if given.seed is None else given.seed
    known = [drills.load(name) for name in drills.shipped()]
    drawn = drills.load(given.drill) if given.drill else draw(known, seed)
    running.check([drawn])
    if not given.hypothesis.strip():
        raise UsageError("--hypothesis is empty; say what you believe will happen, before it does")
    plan = GamePlan(
        written=now,
        hypothesis=given.hypothesis,
        is_surprise=given.surprise,
        seed=seed,
        drill=drawn.name,
        roles=read_roles(given.role),
        planned_s=given.planned,
    )
    return play(plan, drawn, given.home or Path(HOME))


def _pipeline(given: argparse.Namespace) -> int:
    steps = chosen(load_steps(given.steps), tuple(given.only))
    told = settings.load(given.loop).delivery

    def once() -> int:
        report = pipeline.run(steps, given.out, given.url)
        sys.stdout.write(f"{given.out / 'report.html'}\n")
        if not report.passed:
            failed = [step.name for step in report.steps if step.status != "passed"]
            text = f"the pipeline failed at: {', '.join(failed)}"
            for wrong in deliver(told, "Spillway's pipeline failed", {"failed": failed}, text):
                sys.stderr.write(f"could not tell {wrong}\n")
        return 0 if report.passed else 1

    return once() if given.every is None else schedule.repeat(once, settings.seconds_of(given.every))


_COMMANDS = {
    "run": _run,
    "list": _list,
    "scorecard": _scorecard,
    "loop": _loop,
    "gameday": _gameday,
    "pipeline": _pipeline,
}

if __name__ == "__main__":
    sys.exit(main())
