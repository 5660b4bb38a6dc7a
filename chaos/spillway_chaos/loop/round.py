"""One round: run what the cadence and the largest gaps ask for, draw up a card, and see what improved."""

import datetime as dt
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import msgspec

from spillway_chaos import drill as drills
from spillway_chaos import journal, running
from spillway_chaos.drill import Drill
from spillway_chaos.journal import Journal
from spillway_chaos.loop.delivery import deliver
from spillway_chaos.loop.plan import Progress, progress
from spillway_chaos.scorecard import keeping
from spillway_chaos.scorecard.card import Card, card
from spillway_chaos.scorecard.credit import DAY_S
from spillway_chaos.scorecard.settings import LoopSettings

_GAME_DAYS = 30


def draw_up(settings: LoopSettings, now: float) -> Card:
    """Collect, and return a card of all shipped drills, compared with the last one that was kept."""
    known = [drills.load(name) for name in drills.shipped()]
    kept = keeping.history(Path(settings.sources.scorecards))
    return card(
        known,
        journal.read_all(Path(settings.sources.journals).parent),
        settings,
        now=now,
        num_games=_num_games(Path(settings.sources.games), now),
        before=kept[-1] if kept else None,
    )


def keep(settings: LoopSettings) -> tuple[Card, Path, Path]:
    """Draw up a card, and keep it."""
    found = draw_up(settings, time.time())
    return found, *keeping.write(found, Path(settings.sources.scorecards))


def one_round(settings: LoopSettings) -> int:
    """Collect, evaluate, act on the largest gaps, verify, tell; return the drills' exit status."""
    first = draw_up(settings, time.time())
    wanted = [drills.load(name) for name in running.names_of([settings.cadence.drills])]
    wanted = _with(wanted, [gap.verified_by for gap in first.gaps[: settings.cadence.gaps]])
    home = Path(settings.sources.journals).parent
    status, _ = running.run(wanted, times=1, seed=_seed(), with_controls=True, home=home, quiet=True)
    found, as_json, as_html = keep(settings)
    cards = keeping.history(Path(settings.sources.scorecards))
    milestones = progress(settings.plan, cards, dt.datetime.now(dt.UTC).date())
    text = said(found, milestones, incidents_now(settings))
    sys.stdout.write(f"{text}\n{as_html}\n")
    body = {"score": found.score, "level": found.maturity.level, "exit": status, "card": str(as_json)}
    body |= {"gaps": msgspec.to_builtins(found.gaps[: settings.cadence.gaps])}
    for wrong in deliver(settings.delivery, f"Resilience {found.score:.0f}, {found.maturity.level}", body, text):
        sys.stderr.write(f"could not tell {wrong}\n")
    return status


def said(found: Card, milestones: Sequence[Progress], incidents: Sequence[str] = ()) -> str:
    """Return a card in lines of text."""
    change = "" if found.score_before is None else f" ({found.score - found.score_before:+.1f})"
    lines = [f"score {found.score:.1f} of 100{change}, maturity {found.maturity.level}"]
    lines += [f"  {each.name:15}{each.score:6.1f}  weight {each.weight:g}" for each in found.capabilities]
    lines += [f"gap {gap.points:5.1f}  {gap.what}: {gap.do}" for gap in found.gaps[:3]]
    lines += [
        f"{'verified' if each.verified else 'changed'}: {each.drill} {each.before:.0f} to {each.now:.0f}"
        for each in found.changes
    ]
    lines += [f"milestone {each.name} ({each.level}) by {each.due}: {each.status}" for each in milestones]
    lines += [f"firing now: {name}" for name in incidents]
    return "\n".join(lines)


def incidents_now(settings: LoopSettings) -> list[str]:
    """Return the alerts that fire on the platform that the sources name, if they name one."""
    if settings.sources.slo is None:
        return []
    try:
        said_ = httpx.get(settings.sources.slo, timeout=5.0).raise_for_status().json()
        alerts = [alert for objective in said_["objectives"] for alert in objective["alerts"]]
        return [str(alert["name"]) for alert in alerts if alert["state"] == "firing"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return [f"{settings.sources.slo} could not be asked: {type(error).__name__}"]


def _with(wanted: Sequence[Drill], names: Sequence[str]) -> list[Drill]:
    known = {each.name for each in wanted}
    return [*wanted, *(drills.load(name) for name in names if name in drills.shipped() and name not in known)]


def _num_games(folder: Path, now: float) -> int:
    stamps = [path.stat().st_mtime for path in folder.glob("*/review.json")]
    return sum((now - stamp) / DAY_S <= _GAME_DAYS for stamp in stamps)


def _seed() -> int:
    """Another one each day, the same on one day: what a round finds can be found again."""
    return int(time.time() // DAY_S)


__all__ = ["Journal", "draw_up", "incidents_now", "keep", "one_round", "said"]
