r"""Stop strings in a stream: the text before the first one is shown, and no part of it ever leaks.

A stop string can begin in one piece of text and end in another, so the end of what has come is held back for as long
as it can still become one::

    stops = ["\n\n", "END"]      pieces = ["It is 42", ".\nEN", "D of"]

    shown     It is 42   .            \n then END is found: "\n" is shown, and nothing after it
    held                 \n EN

The stop string that is complete first ends the text; of two that end with the same character, the longer. So it does
not matter how the text was cut into pieces, and no token is generated only to see which of two it would be.
"""

from collections import deque
from collections.abc import Sequence


class StopStrings:
    """Watches one stream. Make none for a stream without stop strings: it then costs nothing.

    `stops` are the strings, or the automaton made of them, which all choices of a request can share.
    """

    __slots__ = ("_automaton", "_held", "_matched", "_state")

    def __init__(self, stops: "Sequence[str] | StopAutomaton") -> None:
        self._automaton = stops if isinstance(stops, StopAutomaton) else StopAutomaton(stops)
        self._state = 0
        self._held = ""
        self._matched: str | None = None

    def __repr__(self) -> str:
        return f"<StopStrings held={self._held!r} matched={self._matched!r}>"

    def push(self, text: str) -> tuple[str, str | None]:
        """Add text and return what of all text can now be shown, and the stop string that ends it, if one does.

        Once one has, nothing more is shown.
        """
        if self._matched is not None:
            return "", self._matched
        automaton, state = self._automaton, self._state
        children, fallback, found = automaton.children, automaton.fallback, automaton.found
        whole = self._held + text
        for place, character in enumerate(text, len(self._held) + 1):
            while state and character not in children[state]:
                state = fallback[state]
            state = children[state].get(character, 0)
            matched = found[state]
            if matched is not None:
                self._matched, self._held = matched, ""
                return whole[: place - len(matched)], matched
        self._state = state
        shown = len(whole) - automaton.depth[state]
        self._held = whole[shown:]
        return whole[:shown], None

    def finish(self) -> str:
        """Return what was held back: no stop string was completed, the text ends here."""
        held, self._held, self._state = self._held, "", 0
        return held


class StopAutomaton:
    """All stop strings at once: a step for each character, however many and long they are.

    After Aho and Corasick ("Efficient string matching", CACM 18:6, 1975): a tree of the strings' characters, whose
    states stand for the longest end of the text that begins a stop string, which is exactly what must be held back.
    State 0 is the root; lists are indexed by state. Raises `ValueError` for an empty stop string, or none at all.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if not stops or not all(stops):
            raise ValueError("give at least one stop string, and no empty one")
        self.children: list[dict[str, int]] = [{}]
        self.depth = [0]
        """Characters from the root: how much of a stop string has been seen."""
        self.found: list[str | None] = [None]
        """The longest stop string that ends in this state."""
        self.fallback = [0]
        """The state of the longest proper end of this state's text that begins a stop string, too."""
        for stop in stops:
            self._add(stop)
        self._link()

    def _add(self, stop: str) -> None:
        state = 0
        for character in stop:
            following = self.children[state].get(character)
            if following is None:
                following = len(self.children)
                self.children[state][character] = following
                self.children.append({})
                self.depth.append(self.depth[state] + 1)
                self.found.append(None)
                self.fallback.append(0)
            state = following
        self.found[state] = stop

    def _link(self) -> None:
        """Set `fallback` and `found` level by level: a state's fallback is nearer to the root than the state."""
        waiting = deque(self.children[0].values())
        while waiting:
            state = waiting.popleft()
            for character, child in self.children[state].items():
                waiting.append(child)
                place = self.fallback[state]
                while place and character not in self.children[place]:
                    place = self.fallback[place]
                self.fallback[child] = self.children[place].get(character, 0)
            if self.found[state] is None:
                self.found[state] = self.found[self.fallback[state]]
