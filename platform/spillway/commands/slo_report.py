"""`spillway slo report`: reads what ops remembers and the trace store, and writes a report, once or again and again."""

import argparse
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import msgspec

from spillway.cli import Surroundings
from spillway.commands.slo_traces import given_by_traces
from spillway.configuration import configure
from spillway.errors import ConfigurationError, SpillwayError, UsageError
from spillway.state import StateFolder
from spillway_slo import memory
from spillway_slo.errors import SpecError
from spillway_slo.evaluate import Evaluator
from spillway_slo.ledger import Ledger
from spillway_slo.loading import load
from spillway_slo.objective import Objective
from spillway_slo.page import page
from spillway_slo.report import Report, build

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
FORMATS: Final = ("html", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a report."""
    for flag, explained in (
        ("--state-dir", "state folder of the instance"),
        ("--config", "configuration file of the instance"),
    ):
        parser.add_argument(flag, dest=flag, metavar="PATH", default=argparse.SUPPRESS, help=explained)
    parser.add_argument("--last", metavar="TIME", help="the period that ends now: 30m, 12h, 1d, 4w. Default: 1d")
    parser.add_argument(
        "--from", dest="start", metavar="WHEN", help="its beginning, such as 2026-05-01 or 2026-05-01T12:00Z"
    )
    parser.add_argument("--to", dest="end", metavar="WHEN", help="its end. Default: now")
    parser.add_argument("--format", choices=FORMATS, help="default: what the name after --out ends with, else html")
    parser.add_argument(
        "--out", metavar="FILE", help="write it there. Default: standard output; with --every, a folder"
    )
    parser.add_argument("--every", metavar="TIME", help="write one again and again, until stopped, such as every 1d")


def run(given: Mapping[str, Any], around: Surroundings, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Write one report, or one after another."""
    form = given["format"] or _form_of(given["out"])
    if given["every"] is None:
        start, end = _period(given, time.time())
        _write(_text(_report(given, around, start, end), form), given["out"], around)
        return 0
    every_s, folder = _seconds("--every", given["every"]), around.folder / (given["out"] or "reports")
    if given["start"] or given["end"]:
        raise UsageError("--every is given with --from or --to; say --last, or nothing: each report is of what is new")
    length_s = _seconds("--last", given["last"]) if given["last"] else every_s
    while True:
        due = (int(time.time() // every_s) + 1) * every_s
        sleep(max(due - time.time(), 0.0))
        report = _report(given, around, due - length_s, due)
        name = datetime.fromtimestamp(due, UTC).strftime("slo-%Y%m%dT%H%M%SZ")
        folder.mkdir(parents=True, exist_ok=True)
        _write(_text(report, form), str(folder / f"{name}.{form}"), around)


def _report(given: Mapping[str, Any], around: Surroundings, start: float, end: float) -> Report:
    flags = {flag: value for flag, value in given.items() if flag in {"--state-dir", "--config"}}
    settings = configure(flags, around.environment, around.folder)
    state = StateFolder.of(settings.state_dir, around.environment).path
    file = state / memory.FILE_NAME
    try:
        data = file.read_bytes()
        profile, scale = memory.made_with(data)
        evaluator, ledger = Evaluator(_objectives(profile), Fraction(scale)), Ledger(scale=float(Fraction(scale)))
        alerts = memory.restore(data, evaluator, ledger, scale=scale)
    except FileNotFoundError:
        raise SpillwayError(
            f"there is no {file}: no Spillway has judged objectives with this state folder; name it with --state-dir"
        ) from None
    except (OSError, memory.UnreadableError) as error:
        raise SpillwayError(f"{file} cannot be read: {error}; Spillway writes it anew while it runs") from None
    return build(
        evaluator,
        ledger,
        alerts,
        given_by_traces(state, start, end),
        start=start,
        end=end,
        profile=profile,
        written_at=time.time(),
    )


def _objectives(profile: str) -> tuple[Objective, ...]:
    try:
        return load(profile)
    except SpecError as error:
        raise ConfigurationError(f"the objectives that were judged, {profile!r}, cannot be read: {error}") from None


def _text(report: Report, form: str) -> str:
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"
    return page(report)


def _write(text: str, out: str | None, around: Surroundings) -> None:
    if out is None:
        around.out.write(text)
        return
    path = around.folder / out
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpillwayError(f"{path} cannot be written ({error.strerror}); say another with --out") from None
    around.out.write(f"{path}\n")


def _form_of(out: str | None) -> str:
    suffix = Path(out or "").suffix.removeprefix(".")
    return suffix if suffix in FORMATS else FORMATS[0]


def _period(given: Mapping[str, Any], now: float) -> tuple[float, float]:
    if given["last"] and (given["start"] or given["end"]):
        raise UsageError("--last is given with --from or --to; give one or the other")
    if given["end"] and not given["start"]:
        raise UsageError("--to is given without --from; say where the period begins")
    end = _moment("--to", given["end"]) if given["end"] else now
    start = _moment("--from", given["start"]) if given["start"] else end - _seconds("--last", given["last"] or "1d")
    if start >= end:
        raise UsageError("the period ends before it begins; --from must be earlier than --to")
    return start, end


def _moment(flag: str, text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{flag} is {text!r}; it must be a date, or a date and a time, such as 2026-05-01T12:00Z"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _seconds(flag: str, text: str) -> float:
    found = re.fullmatch(r"([1-9][0-9]{0,6})([smhdw])", text)
    if found is None:
        raise UsageError(f"{flag} is {text!r}; it must be a whole number and s, m, h, d or w, such as 12h")
    return int(found[1]) * _UNITS[found[2]]
