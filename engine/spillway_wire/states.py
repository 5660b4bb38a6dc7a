"""State machines are tables, (state, event) → state; this follows them, and draws them for the docs."""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)


class IllegalTransitionError(Exception):
    """An event that the table does not allow: a fault of ours. Nothing has changed."""


def follow(transitions: Mapping[tuple[S, E], S], state: S, event: E) -> S:
    """Return the state after `event`, or raise `IllegalTransitionError`."""
    try:
        return transitions[state, event]
    except KeyError:
        raise IllegalTransitionError(f"{_name(event)} is not allowed while {_name(state)}") from None


def diagram(transitions: Mapping[tuple[S, E], S], initial: S) -> str:
    """Draw a table as a Mermaid state diagram; events that lead from one state to the same other share an arrow."""
    labels: dict[tuple[S, S], list[str]] = {}
    for (state, event), after in transitions.items():
        labels.setdefault((state, after), []).append(_name(event))
    arrows = [f"    {_name(state)} --> {_name(after)}: {', '.join(names)}" for (state, after), names in labels.items()]
    leaving = {state for state, _ in transitions}
    finals = dict.fromkeys(after for after in transitions.values() if after not in leaving)
    ends = [f"    {_name(state)} --> [*]" for state in finals]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {_name(initial)}", *arrows, *ends]) + "\n"


def _name(member: Enum) -> str:
    return member.name.lower()
