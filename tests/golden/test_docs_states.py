"""The page of state diagrams says what the tables say."""

import importlib.util
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from spillway.pool import lifecycle as request
from spillway.supervisor import lifecycle as place
from spillway_engine import lifecycle as sequence
from spillway_wire.states import diagram

DOCS = Path(__file__).parents[2] / "docs"
TABLES: list[Any] = [place.TRANSITIONS, request.TRANSITIONS, sequence.TRANSITIONS]


def test_the_page_is_what_the_tables_draw() -> None:
    spec = importlib.util.spec_from_file_location("draw_states", DOCS / "draw_states.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (DOCS / "states.md").read_text(encoding="utf-8") == module.page(), "run python docs/draw_states.py"


@pytest.mark.parametrize("table", TABLES, ids=["place", "request", "sequence"])
def test_a_diagram_has_every_arrow_of_its_table_and_no_other(table: Mapping[tuple[Any, Enum], Enum]) -> None:
    drawn = set()
    for line in diagram(table, next(iter(table))[0]).splitlines()[2:]:
        states, _, events = line.partition(": ")
        before, _, after = states.strip().partition(" --> ")
        drawn |= {(before, event.strip(), after) for event in events.split(",") if after != "[*]"}
    assert drawn == {
        (before.name.lower(), event.name.lower(), after.name.lower()) for (before, event), after in table.items()
    }


def test_states_without_a_way_out_are_drawn_as_ends() -> None:
    assert diagram(request.TRANSITIONS, request.State.QUEUED).endswith("    finished --> [*]\n")
    assert "[*]" not in diagram(place.TRANSITIONS, place.State.STOPPED).partition("[*] --> stopped")[2]
