"""How fast an engine steps: `fixed + per_row·rows + per_token·prompt tokens`, fitted to every step that it takes.

Recursive least squares with forgetting, kept as weighted sums (a small matrix) instead of a covariance: sums cannot
lose their symmetry, and the fit is only solved when somebody asks. Three things make it safe with real traffic:

- **Forgetting goes by time spent in steps**, with a least number of steps: idle time teaches nothing and costs nothing.
- **What the steps do not tell apart stays as it was.** While only decodes run, the cost of a prompt token is not in the
  data; each fit is drawn, a little, to the one before it, so it keeps what it knew instead of drifting.
- **Relative errors count**, so that a 4 ms decode weighs as much as a 200 ms prefill. A step that takes many times what
  was expected (the machine paused) does not count, until the next ones do so, too: then what was before is forgotten.

No coefficient is ever negative: of the fits with some of them zero, the best one counts.
"""

from itertools import product
from math import exp, isfinite
from typing import Final

from spillway.admission.load.model_load import Pace

MEMORY_S: Final = 0.5
"""Of step time: what is older counts less than 1/e."""
MIN_MEMORY_STEPS: Final = 24
"""However slow the steps are."""
MIN_STEPS: Final = 8
"""Before anything is said."""
OUTLIER: Final = 2.0
"""Steps that take more than so many times what was expected, or less by that factor, are strange …"""
PATIENCE: Final = 2
"""… and so many in a row, with prompt tokens or without, are not believed."""
_DOUBT: Final = 0.05
"""What the past still counts when it is the past that was wrong."""
_PULL: Final = 1e-3
"""Of the steps' weight: how strongly each fit is drawn to the one before it."""
_EVERY: Final = 4
"""Steps between fits that nobody asked for: they are what outliers are told by."""
_SIZE: Final = 3
_SUBSETS: Final = tuple(product((True, False), repeat=_SIZE))[:-1]
"""Which coefficients may differ from zero, all of them first."""

Vector = tuple[float, float, float]


class PaceFit:
    """Of one engine. Give it every step; ask it at any time."""

    def __init__(self, start: Pace | None = None) -> None:
        """`start`: what was learned of the engine's earlier incarnation; it is said until steps show otherwise."""
        self._theta: Vector = (0.0, 0.0, 0.0) if start is None else (start.fixed_s, start.per_row_s, start.per_token_s)
        self._pace = start
        self._strange = [0, 0]
        """Strange steps in a row, without prompt tokens and with."""
        self._scale = [1.0, 1.0, 1.0]
        """Typical size of each regressor, so that the pull is as strong on each coefficient."""
        self._xx = [[0.0] * _SIZE for _ in range(_SIZE)]
        self._xy = [0.0] * _SIZE
        self._changed = False
        self.num_steps = 0

    def observe(self, duration_s: float, decode_rows: int, prefill_tokens: int) -> None:
        """Take in a step; one that computed nothing, or took no time, says nothing."""
        if duration_s <= 0.0 or not isfinite(duration_s) or decode_rows + prefill_tokens <= 0:
            return
        if self.num_steps < MIN_MEMORY_STEPS or self.num_steps % _EVERY == 0:
            self._solve()
        x = (1.0, float(decode_rows), float(prefill_tokens))
        expected = sum(a * b for a, b in zip(self._theta, x, strict=True))
        keep = max(exp(-duration_s / MEMORY_S), 1.0 - 1.0 / MIN_MEMORY_STEPS)
        about = expected if self.num_steps >= MIN_STEPS and expected > 0.0 else duration_s
        if max(duration_s / about, about / duration_s) > OUTLIER:
            self._strange[prefill_tokens > 0] += 1
            if self._strange[prefill_tokens > 0] <= PATIENCE:
                return
            keep, about = _DOUBT, duration_s
        self._strange[prefill_tokens > 0] = 0
        weight = 1.0 / (about * about)
        for i in range(_SIZE):
            row = self._xx[i]
            for j in range(_SIZE):
                row[j] = keep * row[j] + weight * x[i] * x[j]
            self._xy[i] = keep * self._xy[i] + weight * x[i] * duration_s
            self._scale[i] = max(self._scale[i] * 0.999, x[i], 1.0)
        self.num_steps += 1
        self._changed = True

    @property
    def pace(self) -> Pace | None:
        """The fit; None until there were enough steps."""
        self._solve()
        return self._pace

    def _solve(self) -> None:
        if not self._changed:
            return
        self._changed = False
        pull = _PULL * self._xx[0][0]
        matrix = [row.copy() for row in self._xx]
        target = self._xy.copy()
        for i in range(_SIZE):
            strength = pull * self._scale[i] ** 2
            matrix[i][i] += strength
            target[i] += strength * self._theta[i]
        best: tuple[float, Vector] | None = None
        for free in _SUBSETS:
            theta = _fit(matrix, target, free)
            if theta is None:
                continue
            loss = _loss(matrix, target, theta)
            if best is None or loss < best[0]:
                best = loss, theta
            if all(free):
                break  # nothing constrained can be better
        if best is not None:
            self._theta = best[1]
        if self.num_steps >= MIN_STEPS:
            self._pace = Pace(*self._theta)


def prefill_per_s(pace: Pace, rows: int, max_batched_tokens: int) -> float:
    """Return the prompt tokens per second of an engine that has enough of them, beside `rows` decodes."""
    chunk = max(1, max_batched_tokens - rows)
    return chunk / max(1e-9, pace.step_s(rows, chunk))


def _fit(matrix: list[list[float]], target: list[float], free: tuple[bool, ...]) -> Vector | None:
    """Solve for the free coefficients, the others zero; None if any of them is negative or nothing can be said."""
    indices = [i for i in range(_SIZE) if free[i]]
    rows = [[matrix[i][j] for j in indices] + [target[i]] for i in indices]
    size = len(indices)
    for i in range(size):  # Cholesky would do; elimination of a positive definite matrix needs no pivots
        pivot = rows[i][i]
        if pivot <= 0.0:
            return None
        for k in range(i + 1, size):
            factor = rows[k][i] / pivot
            if factor:
                for j in range(i, size + 1):
                    rows[k][j] -= factor * rows[i][j]
    found = [0.0] * _SIZE
    for i in reversed(range(size)):
        rest = rows[i][size] - sum(rows[i][j] * found[indices[j]] for j in range(i + 1, size))
        found[indices[i]] = rest / rows[i][i]
    if any(not isfinite(each) or each < 0.0 for each in found):
        return None
    return found[0], found[1], found[2]


def _loss(matrix: list[list[float]], target: list[float], theta: Vector) -> float:
    """Return the squared error, but for a constant."""
    square = sum(theta[i] * matrix[i][j] * theta[j] for i in range(_SIZE) for j in range(_SIZE))
    return square - 2.0 * sum(theta[i] * target[i] for i in range(_SIZE))
