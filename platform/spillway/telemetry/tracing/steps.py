"""Engines' steps, as a gateway hears of them: counted for decode spans, and now and then one becomes a span itself.

Every step's frame already says when it was, what it computed and what the load is, so an engine writes nothing more
for this. A gateway notes each frame in a book (a microsecond): a fine ring of the last steps, and a coarse one for
requests that decode for minutes. Of the steps it keeps every hundredth by number, which all gateways choose alike, and
those that took more than three times the median.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from spillway_wire.messages import StepOutput

FINE: Final = 4096
COARSE: Final = 2048
EVERY: Final = 64
"""Steps from one entry of the coarse ring to the next: with these sizes, it reaches back 130,000 steps."""
SAMPLE_EVERY: Final = 100
SLOW_FACTOR: Final = 3
_LEARN_FIRST: Final = 32
"""Steps before any is called slow."""

Key = tuple[str, int]
"""Engine and incarnation."""


class _Ring:
    """Sums at the ends of steps, oldest first; the list is cut when it is twice as long as it should be."""

    __slots__ = ("ends", "most", "rows", "starts", "steps")

    def __init__(self, most: int) -> None:
        self.most = most
        self.ends: list[int] = []
        self.starts: list[int] = []
        self.steps: list[int] = []
        """Steps until then, this one included."""
        self.rows: list[int] = []

    def add(self, started_ns: int, ended_ns: int, steps: int, rows: int) -> None:
        if len(self.ends) >= 2 * self.most:
            # new lists: a reader in another thread keeps those it has
            self.starts, self.ends = self.starts[self.most :], self.ends[self.most :]
            self.steps, self.rows = self.steps[self.most :], self.rows[self.most :]
        self.rows.append(rows)
        self.steps.append(steps)
        self.starts.append(started_ns)
        self.ends.append(ended_ns)

    def sums(self, at_ns: int) -> tuple[int, int] | None:
        """Return (steps, rows) of what had ended by then; None if that lies before what is remembered."""
        ends, steps, rows = self.ends, self.steps, self.rows
        place = bisect_right(ends, at_ns) - 1
        return (steps[place], rows[place]) if 0 <= place < min(len(steps), len(rows)) else None


class StepBook:
    """The steps of one incarnation of an engine . Written by the loop, read by one thread."""

    __slots__ = ("_coarse", "_fine", "_last_step", "_median_ns", "_rows", "_steps")

    def __init__(self) -> None:
        self._fine, self._coarse = _Ring(FINE), _Ring(COARSE)
        self._steps = self._rows = 0
        self._last_step = 0
        self._median_ns = 0.0

    def note(self, started_ns: int, ended_ns: int, step: int, decode_rows: int) -> bool:
        """Note a step; return whether it was slow. A step that came in several frames counts once."""
        if step <= self._last_step:
            return False
        self._last_step = step
        self._steps += 1
        self._rows += decode_rows
        self._fine.add(started_ns, ended_ns, self._steps, self._rows)
        if self._steps % EVERY == 1:
            self._coarse.add(started_ns, ended_ns, self._steps, self._rows)
        return self._is_slow(ended_ns - started_ns)

    def _is_slow(self, took_ns: int) -> bool:
        """Compare with the median, which is followed by small steps up and down, then learn."""
        median = self._median_ns
        if self._steps == 1:
            self._median_ns = float(took_ns)
            return False
        pace = 0.1 if self._steps <= _LEARN_FIRST else 0.01
        self._median_ns = max(1.0, median * (1 + pace if took_ns > median else 1 - pace))
        return self._steps > _LEARN_FIRST and took_ns > SLOW_FACTOR * median

    @property
    def median_ns(self) -> float:
        """About half the steps took longer."""
        return self._median_ns

    def end_of(self, started_ns: int) -> int | None:
        """When the step that began then ended; None if it is not known."""
        starts, ends = self._fine.starts, self._fine.ends
        place = bisect_left(starts, started_ns)
        return ends[place] if place < min(len(starts), len(ends)) and starts[place] == started_ns else None

    def last_end(self, by_ns: int) -> int | None:
        """The end of the last step that had ended by then."""
        for ends in (self._fine.ends, self._coarse.ends):
            place = bisect_right(ends, by_ns) - 1
            if place >= 0:
                return ends[place]
        return None

    def sums(self, at_ns: int) -> tuple[int, int] | None:
        """How many steps had ended by then, and their decode rows together; None if that is forgotten."""
        found = self._fine.sums(at_ns) or self._coarse.sums(at_ns)
        if found is None and not (self._coarse.steps and self._coarse.steps[0] > 1):
            return 0, 0  # before the first of all
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSample:
    """A step that becomes a span."""

    engine_id: str
    incarnation: int
    slow: bool
    output: StepOutput
    """With the requests of this gateway that got something in it."""


class StepBooks:
    """The books of all engines that a gateway hears of; a dead one's is kept until `most` others came after it."""

    def __init__(self, sampled: Callable[[StepSample], None], *, most: int = 256, every: int = SAMPLE_EVERY) -> None:
        """`sampled` is called from the loop for each step that is to become a span. `every` of 0: none by its turn."""
        self._sampled, self._most, self._every = sampled, most, every
        self._books: dict[Key, StepBook] = {}

    def get(self, engine_id: str, incarnation: int) -> StepBook | None:
        """Return the book of one incarnation, if anything was ever heard of it."""
        return self._books.get((engine_id, incarnation))

    def note(self, engine_id: str, incarnation: int, output: StepOutput) -> None:
        """Take in a frame."""
        key = (engine_id, incarnation)
        book = self._books.get(key)
        if book is None:
            if len(self._books) >= self._most:
                del self._books[next(iter(self._books))]
            book = self._books[key] = StepBook()
        slow = book.note(output.started_ns, output.ended_ns, output.step, output.decode_rows)
        if slow or (self._every and output.step % self._every == 0):
            self._sampled(StepSample(engine_id=engine_id, incarnation=incarnation, slow=slow, output=output))
