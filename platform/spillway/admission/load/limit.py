"""How many sequences an engine may hold: found by its step time, never by how long requests take end to end.

::

    in flight ▲        ╭╮  ╭╮  ╭╮      up by √L/2 while steps are well within the objective and somebody waits
              │     ╭─╯ ╰─╯ ╰─╯ ╰─     down to 0.95 L when they are not; at once where half are far from it
              │  ╭─╯                   down to 0.9 L when a sequence was preempted: the cache is full
              └──┴──────────────────▶  never up, and slowly down, where more in flight has brought fewer tokens

What is compared with the objective is the 90th percentile of pure decode steps, and the mean of all steps in which
somebody decodes, the larger of both: the mean is what a client sees as time per token when prefills come between. A
percentile over those would cut the limit for the length of a prefill chunk, which no limit changes.

Others may fill the engine beyond it, other gateways above all, who have limits of their own. Where its steps are well
within the objective even so, the limit is raised to what is there: so all of them come to the highest that holds.

The limit acts late: what is in flight ends in its own time. So it is judged by steps taken since it was last changed,
and not lowered again while more is in flight than it allows.
"""

from collections import deque
from math import sqrt
from typing import Final

import msgspec

LEAST: Final = 4
"""Below this an engine does little but read its weights; an objective that needs less cannot be kept."""
FIRST: Final = 8
"""Where it begins, or at a quarter of what fits, before anything is known; with an objective, that is."""
WINDOW_S: Final = 1.0
"""Of steps that the objective is held against."""
PERIOD_S: Final = 0.1
"""Between changes, at least …"""
PERIOD_STEPS: Final = 5
"""… and so many steps in which somebody decoded."""
CUT: Final = 0.95
DEEPEST_CUT: Final = 0.5
"""Where even the median step is late, the cut is in proportion: the engine has become slower, or its work longer."""
CUT_PREEMPTED: Final = 0.9
COMFORT: Final = 0.9
"""Steps within this share of the objective leave room for more."""
DRIFT: Final = 0.97
"""Each period, while more in flight brings less; not below 0.9 of where it brought most."""
NUM_SAMPLES: Final = 50
MIN_SAMPLES: Final = 8
_SPREAD: Final = 0.04
"""Samples whose number in flight differs by less than this share say nothing of what it brings."""


class _Step(msgspec.Struct, frozen=True):
    ended_s: float
    duration_s: float
    decode_rows: int
    pure: bool
    """Without prompt tokens."""


class AdaptiveLimit:
    """Of one incarnation of one engine."""

    def __init__(self, max_num_seqs: int, start: float | None = None) -> None:
        """`max_num_seqs`: what fits. `start`: what an earlier incarnation had learned."""
        self.most = float(max(1, max_num_seqs))
        self.least = min(float(LEAST), self.most)
        self.value = self.most if start is None else min(self.most, max(self.least, start))
        """Sequences that may be in flight."""
        self._knows = start is not None
        """Whether an objective was ever heard of."""
        self._steps: deque[_Step] = deque()
        """Of the last second, since the limit was last changed, and with no more in flight than it allows."""
        self._beyond: deque[_Step] = deque()
        """Likewise, with more in flight than it allows."""
        self._changed_s: float | None = None
        self._preempted = False
        self._yields = False
        """Since a preemption lowered it, until what is there fits: the cache was full, however fast the steps are."""
        self._samples: deque[tuple[float, float]] = deque(maxlen=NUM_SAMPLES)
        """(sequences that decoded, tokens per second of their steps), for each period."""
        self._rows = self._busy_s = 0.0

    def expect(self, objective_s: float | None) -> None:
        """Note that work with this objective is about to be sent: nobody fills an engine before its first step."""
        if objective_s is not None and not self._knows:
            self._knows = True
            self.value = min(self.value, max(float(FIRST), self.most / 4))

    def note_preemption(self) -> None:
        """Note that a sequence lost its place to others."""
        self._preempted = True

    def observe(
        self,
        ended_s: float,
        duration_s: float,
        decode_rows: int,
        prefill_tokens: int,
        *,
        in_flight: int,
        objective_s: float | None,
        demand: bool,
    ) -> None:
        """Take in a step, and move the limit when it is time.

        `in_flight`: running and waiting there, after the step. `objective_s`: the strictest time per token among them;
        None: there is none. `demand`: whether anything waits that could be sent there. Where it is full nobody may wait
        because whoever would is refused; that is demand, too.
        """
        demand = demand or in_flight + 1 > self.value
        if decode_rows <= 0 or duration_s <= 0.0:
            return
        if self._changed_s is None:
            self._changed_s = ended_s
        pure = prefill_tokens == 0
        if pure:
            self._rows += decode_rows
            self._busy_s += duration_s
        steps = self._steps
        step = _Step(ended_s, duration_s, decode_rows, pure)
        if in_flight <= self.value:
            steps.append(step)
            self._beyond.clear()
            self._yields = False
        else:
            steps.clear()  # more than it allows: these steps say nothing of it
            self._beyond.append(step)
        for each in (steps, self._beyond):
            while each and each[0].ended_s < ended_s - WINDOW_S:
                each.popleft()
        if ended_s - self._changed_s < PERIOD_S:
            return
        if in_flight <= self.value and len(steps) < PERIOD_STEPS:
            return
        self._sample(len(steps))
        self._move(ended_s, in_flight, objective_s, demand=demand)

    def _sample(self, num_steps: int) -> None:
        if self._busy_s > 0.0 and num_steps:
            pure = [step.decode_rows for step in self._steps if step.pure]
            if pure:
                self._samples.append((sum(pure) / len(pure), self._rows / self._busy_s))
        self._rows = self._busy_s = 0.0

    def _move(self, now_s: float, in_flight: int, objective_s: float | None, *, demand: bool) -> None:
        before = self.value
        base = max(self.least, min(self.value, float(in_flight)))
        trend = self._trend()
        late = _share_of(objective_s, self._steps)
        if in_flight > self.value:  # already lower than what is there: wait until that has ended, unless all is well
            beyond = None if self._yields or len(self._beyond) < PERIOD_STEPS else _share_of(objective_s, self._beyond)
            if _is_well(beyond):
                self.value = min(self.most, float(in_flight))
        elif self._preempted:
            self.value = max(self.least, base * CUT_PREEMPTED)
            self._yields = True
        elif late is not None and late > 1.0:
            self.value = max(self.least, base * self._cut(objective_s))
        elif trend < -2.0 / sqrt(len(self._samples) or 1):
            self.value = max(self.least, min(self.value, max(0.9 * self._peak(), self.value * DRIFT)))
        elif trend >= 0.0 and demand and in_flight >= self.value / 2 and (late is None or late < COMFORT):
            self.value = min(self.most, self.value + max(1.0, sqrt(self.value) / 2))
        self._preempted = False
        self._changed_s = now_s
        if self.value != before:
            self._steps.clear()
            self._beyond.clear()

    def _cut(self, objective_s: float | None) -> float:
        durations = _pure(self._steps) or sorted(step.duration_s for step in self._steps)
        late = durations[len(durations) // 2] / objective_s if objective_s else 1.0
        return min(CUT, max(DEEPEST_CUT, 1.0 / late)) if late > 0.0 else CUT

    def _trend(self) -> float:
        """Return how sequences in flight and tokens per second go together, from -1 to 1; 0 where nothing is known."""
        size = len(self._samples)
        if size < MIN_SAMPLES:
            return 0.0
        mean_x = sum(x for x, _ in self._samples) / size
        mean_y = sum(y for _, y in self._samples) / size
        xx = sum((x - mean_x) ** 2 for x, _ in self._samples)
        yy = sum((y - mean_y) ** 2 for _, y in self._samples)
        if sqrt(xx / size) < max(0.5, _SPREAD * mean_x) or yy <= 0.0:
            return 0.0
        return sum((x - mean_x) * (y - mean_y) for x, y in self._samples) / sqrt(xx * yy)

    def _peak(self) -> float:
        """Return the sequences in flight that brought the most tokens per second, of late."""
        best = sorted(self._samples, key=lambda sample: sample[1])[-max(1, len(self._samples) // 8) :]
        return sum(rows for rows, _ in best) / len(best)


def _share_of(objective_s: float | None, steps: deque[_Step]) -> float | None:
    """Return how much of the objective steps take; None if that is not known."""
    return None if objective_s is None or not steps else _held_against(steps) / objective_s


def _is_well(share: float | None) -> bool:
    return share is not None and share < COMFORT


def _held_against(steps: deque[_Step]) -> float:
    """Return what is held against the objective, of at least one step."""
    pure = _pure(steps)
    mean = sum(step.duration_s for step in steps) / len(steps)
    if not pure:
        return mean
    return max(mean, pure[(9 * len(pure)) // 10])


def _pure(steps: deque[_Step]) -> list[float]:
    """Return the durations of steps without prompt tokens, the shortest first."""
    return sorted(step.duration_s for step in steps if step.pure)
