"""How long a request holds its slot, and so how fast slots come free: Little's law, before any queue has formed.

What is learned is a number of steps, which belongs to the traffic, and not a time, which depends on how full an engine
is. A stay beside `rows` others takes::

    steps · (fixed + per_row · rows)  +  rows · prompt · per_token
    its own steps, decodes all along     one prefill for each neighbour's slot that turns over meanwhile

so the rate of a full engine is known while it is half empty. Ended requests say little when answers suddenly get
longer, for those that end early are the short ones. So what still runs counts, too, where more of it has run longer
than nine in ten of the ended than the tenth that should have.
"""

from dataclasses import dataclass
from typing import Final

from spillway.admission.load.model_load import EngineLoad, Pace
from spillway.admission.load.quantile import RunningQuantile

SHARE: Final = 0.9
WINDOW: Final = 64
LEAST_MEMORY: Final = 16
"""Stays that a mean is taken over: of two turns of all slots, but at least so many."""


@dataclass(frozen=True, slots=True)
class _Stay:
    began: float
    prompt_tokens: int
    pace: Pace | None
    rows: int


class ServiceTime:
    """Of one model, as this gateway's own requests show it. Times in seconds."""

    def __init__(self) -> None:
        self._running: dict[str, _Stay] = {}
        """In the order in which they began: the oldest first."""
        self._ended = RunningQuantile(SHARE, WINDOW)
        self._num_ended = 0
        self._seconds = 0.0
        self._num_paced = 0
        self._steps = 0.0
        self._prompt = 0.0

    @property
    def num_running(self) -> int:
        """Requests that hold a slot."""
        return len(self._running)

    @property
    def known(self) -> bool:
        """Whether anything has ended yet."""
        return self._num_ended > 0

    def begin(self, request_id: str, now: float, prompt_tokens: int, engine: EngineLoad | None) -> None:
        """A request is sent to `engine`; None: one of which nothing is known."""
        pace = None if engine is None else engine.pace
        rows = 1 if engine is None else max(1, engine.sequences)
        self._running[request_id] = _Stay(now, prompt_tokens, pace, rows)

    def end(self, request_id: str, now: float, rows: int) -> None:
        """It has come to its end, in an engine with `rows` sequences."""
        stay = self._running.pop(request_id, None)
        if stay is None:
            return
        stay_s = now - stay.began
        self._ended.add(stay_s)
        self._num_ended += 1
        memory = max(LEAST_MEMORY, 2 * (len(self._running) + 1))
        gain = max(1 / memory, 1 / self._num_ended)
        self._seconds += gain * (stay_s - self._seconds)
        self._prompt += gain * (stay.prompt_tokens - self._prompt)
        pace = stay.pace
        if pace is not None:
            mean_rows = (stay.rows + max(1, rows)) / 2
            step_s = pace.fixed_s + pace.per_row_s * mean_rows
            if step_s > 0.0:
                steps = max(1.0, (stay_s - mean_rows * self._prompt * pace.per_token_s) / step_s)
                self._num_paced += 1
                self._steps += max(1 / memory, 1 / self._num_paced) * (steps - self._steps)

    def forget(self, request_id: str) -> None:
        """It left before its end: that says nothing of how long others take."""
        self._running.pop(request_id, None)

    def slots_per_s(self, engine: EngineLoad, now: float, *, full: bool = True) -> float | None:
        """Return at which rate slots of `engine` come free: once it is `full`, or as it is now.

        None as long as nothing has ended.
        """
        rows = max(1.0, min(engine.sequences, engine.capacity.max_num_seqs), engine.limit if full else 0.0)
        pace = engine.pace
        if not self._num_ended:
            return None
        if pace is None or not self._num_paced:
            stay_s = self._seconds
        else:
            stay_s = self._steps * (pace.fixed_s + pace.per_row_s * rows) + rows * self._prompt * pace.per_token_s
        stay_s *= self._lengthening(now)
        return rows / stay_s if stay_s > 0.0 else None

    def _lengthening(self, now: float) -> float:
        """Return by how much stays have grown, as far as what still runs shows it; 1.0 if it does not."""
        usual_s = self._ended.value
        if usual_s is None or self._seconds <= 0.0 or len(self._ended) < WINDOW // 4:
            return 1.0
        ages = []
        for stay in self._running.values():
            age_s = now - stay.began
            if age_s <= usual_s:
                break
            ages.append(age_s)
        excess = len(ages) - round((1 - SHARE) * len(self._running)) - 1
        if excess <= 0:
            return 1.0
        weight = len(self._ended)
        return (weight * self._seconds + sum(ages[:excess])) / ((weight + excess) * self._seconds)
