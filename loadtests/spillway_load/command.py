"""Run a load campaign: `spillway load CAMPAIGN`, which is a file, or the name of a shipped one.

Exit statuses: 0 objectives met; 1 missed; 2 the campaign or an argument is wrong; 3 invalid, since the generator itself
lagged; 4 nothing answers at the target.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from spillway_load import campaign as campaigns
from spillway_load.campaign import Campaign
from spillway_load.errors import CampaignError, LoadError
from spillway_load.keys import read_keys
from spillway_load.progress import How, progress
from spillway_load.report import text
from spillway_load.report.page import page
from spillway_load.result import Result
from spillway_load.running import Surroundings, run
from spillway_load.saturation import saturate
from spillway_load.series import Series
from spillway_load.traces import Replay

URL: Final = "http://127.0.0.1:8000"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CampaignError(f"{message}; see spillway load --help")


def _parser() -> argparse.ArgumentParser:
    known = "\n".join(f"  {name:18}{campaigns.load(str(path)).about}" for name, path in campaigns.shipped().items())
    parser = _Parser(
        prog="spillway load",
        description=__doc__,
        epilog=f"shipped campaigns:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("campaign", metavar="CAMPAIGN", help="a TOML file, or the name of a shipped campaign")
    parser.add_argument("--url", help=f"the API's address (SPILLWAY_URL, else {URL})")
    parser.add_argument("--out", type=Path, help="folder for result.json, report.html and records.msgpack (.load/NAME)")
    parser.add_argument("--duration", type=_positive, metavar="S", help="seconds, in place of the campaign's")
    parser.add_argument("--rate", type=_positive, metavar="R", help="requests a second, in place of the campaign's")
    parser.add_argument("--seed", type=int, help="in place of the campaign's")
    parser.add_argument("--lag-limit-ms", type=_positive, metavar="MS", help="p99 beyond which a run is invalid")
    parser.add_argument("--workers", type=_count, default=1, help="processes, a core each (1)")
    parser.add_argument("--keys", type=Path, metavar="FILE", help='API keys by tenant, TOML: acme = "…"')
    parser.add_argument(
        "--ca", type=Path, metavar="FILE", help="authority to hold an https target's certificate against"
    )
    parser.add_argument("--progress", choices=["live", "json", "lines", "none"], help="live on a terminal, else lines")
    parser.add_argument("--quiet", action="store_const", const="none", dest="progress", help="the same as none")
    return parser


def _positive(given: str) -> float:
    number = float(given)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{given} is not above 0")
    return number


def _count(given: str) -> int:
    number = int(given)
    if not 1 <= number <= 64:
        raise argparse.ArgumentTypeError(f"{given} is not from 1 to 64")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    try:
        given = _parser().parse_args(arguments)
        return _run(given)
    except LoadError as error:
        sys.stderr.write(f"spillway load: {error}\n")
        return error.exit_status


def _run(given: argparse.Namespace) -> int:
    campaign = _changed(campaigns.load(given.campaign), given)
    out: Path = given.out or Path(".load") / campaign.name
    with _told("the folder", out):
        out.mkdir(parents=True, exist_ok=True)
    how: How = given.progress or ("live" if sys.stderr.isatty() else "lines")
    shown = progress(how, sys.stderr, campaign.name)
    url = (given.url or os.environ.get("SPILLWAY_URL") or URL).rstrip("/")
    around = Surroundings(
        url=url if "://" in url else f"http://{url}",
        workers=given.workers,
        keys=read_keys(given.keys),
        ca=given.ca,
        tell=shown.tell,
        on_start=shown.started,
    )
    try:
        result, series = run(campaign, around) if campaign.saturation is None else saturate(campaign, around, shown.say)
    finally:
        shown.end()
    with _told("the folder", out):
        _write(out, result, series)
    sys.stdout.write(text.summary(result, out))
    return result.exit


def _changed(campaign: Campaign, given: argparse.Namespace) -> Campaign:
    if given.rate is not None:
        if isinstance(campaign.arrivals, Replay) or campaign.saturation is not None:
            raise CampaignError("--rate does not fit a campaign that has no rate of its own: see its file")
        campaign = msgspec.structs.replace(
            campaign, arrivals=msgspec.structs.replace(campaign.arrivals, rate=given.rate)
        )
    changes = {"duration_s": given.duration, "seed": given.seed, "lag_limit_ms": given.lag_limit_ms}
    return msgspec.structs.replace(campaign, **{name: value for name, value in changes.items() if value is not None})


@contextlib.contextmanager
def _told(what: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CampaignError(f"{what} {path}: {error.strerror}") from None


def _write(out: Path, result: Result, series: Series) -> None:
    (out / "result.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)))
    (out / "records.msgpack").write_bytes(msgspec.msgpack.encode(series.records))
    (out / "report.html").write_text(page(result, series), encoding="utf-8")
