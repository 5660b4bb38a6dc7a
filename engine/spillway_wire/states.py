"""State machines are tables, (state, event) → state; this draws them for the docs."""

from collections.abc import Mapping
from enum import Enum


def diagram(transitions: Mapping[tuple[Enum, Enum], Enum], initial: Enum) -> str:
    """Draw a table as a Mermaid state diagram; events that lead from one state to the same other share an arrow."""
    labels: dict[tuple[Enum, Enum], list[str]] = {}
    for (state, event), after in transitions.items():
        labels.setdefault((state, after), []).append(event.name.lower())
    arrows = [f"    {_name(state)} --> {_name(after)}: {', '.join(names)}" for (state, after), names in labels.items()]
    leaving = {state for state, _ in transitions}
    finals = dict.fromkeys(after for after in transitions.values() if after not in leaving)
    ends = [f"    {_name(state)} --> [*]" for state in finals]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {_name(initial)}", *arrows, *ends]) + "\n"


def _name(state: Enum) -> str:
    return state.name.lower()
