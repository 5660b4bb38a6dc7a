"""The scorecard's arithmetic, done again by hand."""

import datetime as dt
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from spillway_chaos import drill as drills
from spillway_chaos.drill import Drill
from spillway_chaos.errors import UsageError
from spillway_chaos.journal import Journal
from spillway_chaos.loop.plan import progress
from spillway_chaos.scorecard import keeping, settings
from spillway_chaos.scorecard.card import Card, card
from spillway_chaos.scorecard.credit import DAY_S, Standing, result_of
from spillway_chaos.scorecard.page import page
from spillway_chaos.scorecard.settings import Incident, LoopSettings, Milestone, Plan

NOW = 1_800_000_000.0
TODAY = dt.datetime.fromtimestamp(NOW, dt.UTC).date()
KILL, OPS, REDIS = (drills.load(name) for name in ("engine-kill", "ops-kill", "redis-slow"))
PLAIN = LoopSettings()


def runs(fake: ModuleType, drill: Drill, *, age_days: float = 1.0, control: bool = True) -> list[Journal]:
    """A run that held, and its control that did not."""
    at = NOW - age_days * DAY_S
    calm = fake.evidence(alerts=())
    found = [fake.journal(plain(drill), at=at, seen=calm)]
    if control:
        broken = fake.evidence(load=fake.load_result(fates={"good": 70, "failed": 10}), recoveries=0)
        found.append(fake.journal(plain(drill), at=at, control=True, seen=broken))
    return found


def plain(drill: Drill) -> Drill:
    """The drill with the expectations of one that the made-up evidence is about."""
    terms = msgspec.structs.replace(drill.terms, expect=KILL.terms.expect, alerts=KILL.terms.alerts)
    if terms.control is not None:
        terms = msgspec.structs.replace(terms, control=KILL.terms.control)
    return msgspec.structs.replace(drill, terms=terms)


def standing(drill: Drill, journals: list[Journal]) -> Standing:
    return result_of(drill, journals, PLAIN, NOW).standing


def test_a_drill_stands_as_its_last_runs_say(fake_drill: ModuleType) -> None:
    held, red = runs(fake_drill, KILL)
    broken = fake_drill.journal(KILL, at=NOW, seen=fake_drill.evidence(conservation_gap=1.0))
    unclear = fake_drill.journal(KILL, at=NOW, problem="the generator lagged")
    assert standing(KILL, []) is Standing.NEVER
    assert standing(KILL, [unclear]) is Standing.NEVER
    assert standing(KILL, [held]) is Standing.HELD
    assert standing(KILL, [held, red]) is Standing.PROVEN
    assert standing(KILL, [held, red, unclear]) is Standing.PROVEN, "what concluded nothing changes nothing"
    assert standing(KILL, [held, red, broken]) is Standing.BROKEN
    assert standing(KILL, runs(fake_drill, KILL, age_days=8)) is Standing.EXPIRED
    assert standing(OPS, runs(fake_drill, OPS, control=False)) is Standing.HELD


def test_a_control_that_stayed_green_proves_nothing(fake_drill: ModuleType) -> None:
    held = runs(fake_drill, KILL, control=False)
    blind = fake_drill.journal(KILL, at=NOW, control=True)
    result = result_of(KILL, [*held, blind], PLAIN, NOW)
    assert (result.standing, result.reason) == (Standing.HELD, "held; its control was blind, which shows nothing")


def drawn(fake: ModuleType, loop: LoopSettings = PLAIN, **more: Any) -> Card:
    journals = [*runs(fake, KILL), *runs(fake, OPS, control=False)]
    return card([plain(KILL), plain(OPS), plain(REDIS)], journals, loop, now=NOW, **more)


def test_the_score_can_be_recomputed(fake_drill: ModuleType) -> None:
    found = drawn(fake_drill)
    # proven 100: redundancy high, recovery high, observability medium. Held 75: observability high, redundancy low.
    # Never 0: dependencies high, observability medium.
    wanted = {
        "redundancy": (3 * 100 + 1 * 75) / 4,
        "recovery": 100.0,
        "overload": 0.0,
        "dependencies": 0.0,
        "observability": (2 * 100 + 3 * 75 + 2 * 0) / 7,
        "machine": 0.0,
    }
    assert {each.name: each.score for each in found.capabilities} == pytest.approx(wanted)
    weights = PLAIN.weights
    assert found.score == pytest.approx(sum(weights[name] * score for name, score in wanted.items()) / 14)


def test_gaps_are_what_the_score_would_gain(fake_drill: ModuleType) -> None:
    found = drawn(fake_drill)
    by_drill = {gap.verified_by: gap.points for gap in found.gaps if gap.points}
    assert by_drill == pytest.approx(
        {"redis-slow": 2 / 14 * 100 + 2 / 14 * 2 / 7 * 100, "ops-kill": (3 / 14 * 1 / 4 + 2 / 14 * 3 / 7) * 25}
    )
    assert [gap.verified_by for gap in found.gaps][:2] == ["redis-slow", "ops-kill"]
    assert all(gap.do for gap in found.gaps)


def test_an_improvement_counts_from_a_fifth_of_its_gap(fake_drill: ModuleType) -> None:
    before = drawn(fake_drill)

    def change(now: float) -> Any:
        credit = msgspec.structs.replace(PLAIN.credit, held=now)
        return drawn(fake_drill, msgspec.structs.replace(PLAIN, credit=credit), before=before).changes[0]

    assert (change(79).drill, change(79).verified) == ("ops-kill", False)
    assert (change(80).closed, change(80).verified) == (pytest.approx(0.2), True)
    assert change(50).closed == -1.0


def test_weights_follow_incidents_for_a_while() -> None:
    def weight(days: int) -> float:
        incident = Incident(at=TODAY - dt.timedelta(days=days), capability="dependencies", about="Redis was slow")
        return settings.weights_at(msgspec.structs.replace(PLAIN, incidents=(incident, incident)), TODAY)[
            "dependencies"
        ]

    assert (weight(0), weight(30), weight(31), weight(-1)) == (3.0, 3.0, 2.0, 2.0)


def test_levels_come_from_evidence_and_say_what_is_missing(fake_drill: ModuleType) -> None:
    assert card([KILL], [], PLAIN, now=NOW).maturity.level == "none"
    four = [drills.load(name) for name in ("engine-kill", "engine-hang", "ops-kill", "redis-slow")]
    journals = [journal for drill in four for journal in runs(fake_drill, drill)]
    found = card([plain(drill) for drill in four], journals, PLAIN, now=NOW)
    assert found.maturity.level == "basic"
    assert {condition.level for condition in found.maturity.next} == {"advanced", "expert"}


def test_cards_are_kept_and_the_page_holds_what_they_say(fake_drill: ModuleType, tmp_path: Path) -> None:
    found = drawn(fake_drill)
    as_json, as_html = keeping.write(found, tmp_path)
    assert keeping.history(tmp_path) == [found]
    (tmp_path / "broken.json").write_text("{")
    assert len(keeping.history(tmp_path)) == 1
    text = as_html.read_text(encoding="utf-8")
    assert text == page(found)
    for word in ("engine-kill", "redis-slow", "maturity", f"= {found.score:.1f}"):
        assert word in text
    assert as_json.stem == as_html.stem
    assert "http" not in text.replace("https://", "http"), "the page asks nobody for anything"


def test_the_plan_stands_as_cards_say(fake_drill: ModuleType) -> None:
    def of(day: int, level: str) -> Card:
        base = drawn(fake_drill)
        maturity = msgspec.structs.replace(base.maturity, level=level)
        return msgspec.structs.replace(base, at=NOW + day * DAY_S, maturity=maturity)

    plan = Plan(milestones=tuple(Milestone(day=3 * n, name=f"m{n}", level=level) for n, level in LEVELS))
    cards = [of(0, "none"), of(2, "basic"), of(8, "expert")]
    stands = [each.status for each in progress(plan, cards, TODAY + dt.timedelta(days=10))]
    assert stands == ["reached", "late", "reached", "ahead"]
    assert progress(plan, cards, TODAY + dt.timedelta(days=13))[-1].status == "missed"


LEVELS: Any = ((1, "basic"), (2, "advanced"), (3, "expert"), (4, "leading"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[weights]\nredundancy = 0", "weights"),
        ("[credit]\nproven = 101", "proven"),
        ("[cadence]\nevery = '1 day'", "'1 day' is no duration"),
        ("[[incidents]]\nat = 2026-01-31\ncapability = 'luck'\nabout = ''", "capabilities are: redundancy"),
        ("[credits]", "credits"),
        ("[", "cannot be read"),
    ],
    ids=["weight", "credit", "duration", "capability", "key", "toml"],
)
def test_a_wrong_loop_file_is_refused_with_the_reason(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "loop.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=why):
        settings.load(file)


def test_the_shipped_loop_file_says_the_defaults() -> None:
    assert settings.load(None) == PLAIN
