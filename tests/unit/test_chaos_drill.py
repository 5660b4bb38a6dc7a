"""Drills' files: what is refused, with which words; and that the shipped ones are whole."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from spillway_chaos import drill as drills
from spillway_chaos import running
from spillway_chaos.errors import UsageError
from spillway_chaos.judging.findings import NAMES
from spillway_chaos.scorecard.catalogue import CATALOGUE
from spillway_chaos.scorecard.settings import LoopSettings

SHIPPED = drills.shipped()


def content() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(SHIPPED["engine-kill"].read_text(encoding="utf-8"))
    return found


def parse(found: dict[str, Any]) -> drills.Drill:
    return drills.parse(yaml.safe_dump(found), Path("mine.yaml"))


def terms(found: dict[str, Any]) -> dict[str, Any]:
    ours: dict[str, Any] = found["extensions"][0]
    return ours


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_shipped_drill_is_whole(name: str) -> None:
    drill = drills.load(name)
    running.check([drill])
    assert {fault.kind for fault in drill.terms.faults} <= CATALOGUE.keys()
    assert drill.experiment.contributions.keys() <= LoopSettings().weights.keys()
    assert set(drill.terms.control.breaks if drill.terms.control else ()) <= set(NAMES)


def test_every_kind_of_fault_has_a_drill() -> None:
    made = {fault.kind for name in SHIPPED for fault in drills.load(name).terms.faults}
    assert made == CATALOGUE.keys()


def test_eight_drills_are_quick_and_each_has_a_control() -> None:
    quick = [drills.load(name) for name in running.names_of(["quick"])]
    assert len(quick) == 8
    assert all(drill.terms.control is not None for drill in quick)


def test_every_promise_is_judged_by_a_quick_drill_or_by_all() -> None:
    promises = {drills.load(name).terms.promise for name in SHIPPED}
    assert promises <= {1, 2, 3, 4, 5}


def rename(found: dict[str, Any]) -> None:
    found["method"][1]["name"] = found["method"][0]["name"]


def lose_proof(found: dict[str, Any]) -> None:
    terms(found)["faults"][0]["proof"] = "a feeling"


def tolerate_anything(found: dict[str, Any]) -> None:
    del found["method"][2]["tolerance"]


def prove_before(found: dict[str, Any]) -> None:
    found["method"][1], found["method"][2] = found["method"][2], found["method"][1]


def lose_fault(found: dict[str, Any]) -> None:
    terms(found)["faults"][0]["action"] = "load"


def lose_load(found: dict[str, Any]) -> None:
    del found["method"][-1]


def mistype(found: dict[str, Any]) -> None:
    terms(found)["expect"]["failed_at_mots"] = 3


def lose_control(found: dict[str, Any]) -> None:
    del terms(found)["control"]


def lose_terms(found: dict[str, Any]) -> None:
    found["extensions"] = []


def tolerate_steady(found: dict[str, Any]) -> None:
    del found["steady-state-hypothesis"]["probes"][0]["tolerance"]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (rename, "two activities of the method are called 'load'"),
        (lose_proof, "names the proof 'a feeling', which the method has not"),
        (tolerate_anything, "must be a probe with a tolerance"),
        (prove_before, "stands before it"),
        (lose_fault, "is no fault of extensions.spillway.faults"),
        (lose_load, "needs start_load and finish_load"),
        (mistype, "failed_at_mots"),
        (lose_control, "give a control, or say in without_control"),
        (lose_terms, "one table with the name 'spillway'"),
        (tolerate_steady, "every probe of the steady state needs a tolerance"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_wrong_file_is_refused_with_the_reason(spoil: Any, why: str) -> None:
    found = content()
    spoil(found)
    with pytest.raises(UsageError, match=why):
        parse(found)


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        ("module", "os", "drills call spillway_chaos.faults"),
        ("func", "kill_all", "has no 'kill_all'; it has:"),
        ("arguments", {"kind": "engine", "sort": 1}, "unexpected keyword argument 'sort'"),
    ],
    ids=["module", "func", "arguments"],
)
def test_what_cannot_be_called_is_told_before_anything_starts(place: str, value: object, why: str) -> None:
    found = content()
    found["method"][1]["provider"][place] = value
    with pytest.raises(UsageError, match=why):
        running.check([parse(found)])


def test_names_are_found_or_told_with_one_that_is_like_it() -> None:
    assert running.names_of(["engine-kill", "engine-kill"]) == ["engine-kill"]
    assert set(running.names_of(["all"])) == set(SHIPPED)
    with pytest.raises(UsageError, match="did you mean 'engine-kill'"):
        drills.load("engine-kil")
    with pytest.raises(UsageError, match="cannot be read"):
        drills.load("nowhere.yaml")
    with pytest.raises(UsageError, match="is no YAML"):
        drills.parse("a: [", Path("mine.yaml"))


def test_the_table_of_faults_in_the_docs_is_that_of_the_drills() -> None:
    said = (Path(__file__).parents[2] / "docs" / "chaos.md").read_text(encoding="utf-8")
    for name in SHIPPED:
        drill = drills.load(name)
        for fault in drill.terms.faults:
            proof = next(each for each in drill.experiment.method if each.name == fault.proof).provider.func
            control = f"without {drill.terms.control.turns_off}" if drill.terms.control else "none"
            row = f"| `{fault.kind}` | {CATALOGUE[fault.kind]} | `{name}` | `{proof}` | {control} |"
            assert row in said
