"""How far predictions can be believed: what was measured against what was predicted, for a band of one model.

The prediction that is judged is the raw one, before correction, so the correction does not chase itself::

    predicted 0.4 s, actual 0.5 s  ─▶  ratio 1.25  ─▶  factor: the ratio that 97 in 100 stay below
                                                   ─▶  error: how far ratios lie apart, which no factor can mend
"""

from collections import OrderedDict
from math import exp, log
from typing import Final

from spillway.admission.contract import Ask, Band
from spillway.admission.load.quantile import RunningQuantile

BOUNDS: Final = (1.0, 4.0)
"""Least and most that a prediction is corrected by. Beyond four times it is wrong, not off. It is never made shorter:
while a limit rises, slots come faster than predicted, and what is admitted for that is late when the rise ends."""
SHARE: Final = 0.97
"""Of ratios that the factor covers. Under load the door admits up to the edge, so that what lies beyond is late: of
nine in ten, up to a tenth. More than this is the memory of single accidents, and shortens every queue for it."""
WINDOW: Final = 64
KEEP_S: Final = 15.0
"""Ratios of so long count, if that is more: what is predicted in one second errs alike."""
FORGET_S: Final = 30.0
"""Older ones do not, however few there are. A factor that was learned in a bad moment keeps out the very requests that
would show it wrong: so it has to end by itself."""
MAX_TENANTS: Final = 256
"""That are judged by their own ratios, in all bands together."""
UNTIL_KNOWN: Final = 1.25
"""The factor before there are `ENOUGH` ratios."""
ENOUGH: Final = 16
LEAST_FLOOR_S: Final = 0.02
"""Added to both sides of a ratio, or a twentieth of what was allowed: 3 ms against 1 ms is no error."""
BAD_ERROR: Final = log(2.0)
"""Ratios that lie typically by a factor of two from their middle are no ground for a decision."""
RELEVANT: Final = 0.5
"""Of what is allowed: a corrected prediction below that is far from being refused, and short waits scatter widely."""
_GAIN: Final = 1 / 32


class Calibration:
    """Learns from each first token."""

    def __init__(self) -> None:
        self._ratios = RunningQuantile(SHARE, WINDOW, KEEP_S, FORGET_S)
        self._log_mean = 0.0
        self._error = 0.0
        self.num_learned = 0

    def learn(self, raw_s: float, actual_s: float, allowed_s: float, now: float) -> None:
        """Take in one request: its uncorrected prediction, what it took from submission, what it was allowed."""
        floor_s = max(LEAST_FLOOR_S, allowed_s / 20)
        ratio = (actual_s + floor_s) / (raw_s + floor_s)
        self.num_learned += 1
        gain = max(_GAIN, 1 / self.num_learned)
        self._log_mean += gain * (log(ratio) - self._log_mean)
        self._error += gain * (abs(log(ratio) - self._log_mean) - self._error)
        if raw_s * self.factor >= RELEVANT * allowed_s:
            self._ratios.add(ratio, now)

    def forget(self, now: float) -> None:
        """Let go of what is too old to count."""
        self._ratios.forget(now)

    @property
    def experienced(self) -> bool:
        """Whether the factor is a measured one."""
        return len(self._ratios) >= ENOUGH

    @property
    def factor(self) -> float:
        """What a prediction is multiplied by before it is compared with what is allowed."""
        quantile = self._ratios.value
        if quantile is None or not self.experienced:
            return UNTIL_KNOWN
        return min(BOUNDS[1], max(BOUNDS[0], quantile))

    @property
    def mean(self) -> float:
        """The middle of actual to predicted, 1.0 when nothing is known."""
        return exp(self._log_mean)

    @property
    def error(self) -> float:
        """How far ratios lie from their middle: 0.1 is a tenth, `BAD_ERROR` a factor of two."""
        return self._error

    @property
    def trusted(self) -> bool:
        """Whether predictions may decide. Nothing is held against them before enough is known."""
        within = 1 / BOUNDS[1] <= self.mean <= BOUNDS[1]
        return self.num_learned < ENOUGH or (self._error < BAD_ERROR and within)


class Calibrations:
    """Of one model: of each band, and of each tenant in it as soon as enough of its own requests are known.

    A tenant that asks for more than its share waits otherwise than one beside it that does not, and neither must pay
    for the other's errors. Tenants that are not heard of for long make room.
    """

    def __init__(self) -> None:
        self.bands = {band: Calibration() for band in Band}
        self._tenants: OrderedDict[tuple[Band, str], Calibration] = OrderedDict()

    def of(self, band: Band, tenant_id: str, now: float) -> Calibration:
        """Return the most specific one that knows enough, as of `now`."""
        own = self._tenants.get((band, tenant_id))
        if own is not None:
            own.forget(now)
            if own.experienced:
                return own
        self.bands[band].forget(now)
        return self.bands[band]

    def learn(self, ask: Ask, raw_s: float, actual_s: float, allowed_s: float, now: float) -> None:
        """Take in one request; see `Calibration.learn`."""
        key = ask.band, ask.tenant_id
        own = self._tenants.get(key)
        if own is None:
            own = self._tenants[key] = Calibration()
            if len(self._tenants) > MAX_TENANTS:
                self._tenants.popitem(last=False)
        self._tenants.move_to_end(key)
        for each in (own, self.bands[ask.band]):
            each.learn(raw_s, actual_s, allowed_s, now)
