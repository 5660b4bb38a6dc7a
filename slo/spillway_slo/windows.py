"""Windows of burn rates, as data, and the one factor that scales all of them.

The four rows are those of the Site Reliability Workbook, chapter 5 ("Alerting on SLOs"), for a period of 30 days: a
burn rate is the share of the budget that the long window may spend, times the period, divided by the window; the short
window is a twelfth of the long one, and ends the alert soon after the burn has ended.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from spillway_slo.errors import SpecError

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
PERIOD_S: Final = 30 * DAY
TICK_S: Final = 15
"""Between two samples, and two evaluations, of everything up to `FINE_S`."""
MARK_S: Final = 5 * MINUTE
"""Between two samples of what reaches farther back."""
FINE_S: Final = 6 * HOUR
"""The longest window whose edges are exact to the sample; longer ones begin at a mark."""
RECORDED: Final[Mapping[str, int]] = {
    "5m": 5 * MINUTE,
    "30m": 30 * MINUTE,
    "1h": HOUR,
    "2h": 2 * HOUR,
    "6h": 6 * HOUR,
    "1d": DAY,
    "3d": 3 * DAY,
    "30d": PERIOD_S,
}
"""The windows over which error ratios are recorded, by the names that Sloth gives them."""
PERCENTILE_WINDOW: Final = "30m"
"""Over which a percentile is held against its limit."""

_UNITS: Final = {"m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,5})([mhdw])")


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnWindow:
    """One row: the alert fires while both windows burn faster than `factor`."""

    name: str
    """Such as `page-quick`."""
    severity: str
    """`page` or `ticket`."""
    factor: Fraction
    """Burn rate: 1 spends exactly the budget of the period in the period."""
    long: str
    short: str
    """Names in `RECORDED`."""

    @property
    def long_s(self) -> int:
        """Seconds, unscaled."""
        return RECORDED[self.long]

    @property
    def short_s(self) -> int:
        """Likewise."""
        return RECORDED[self.short]


def parse_duration(text: str) -> int:
    """Return the seconds of OpenSLO's shorthand for durations. Raises `SpecError` for what has no fixed length."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise SpecError(f"{text!r} is no duration; write a whole number and m, h, d or w, such as 5m or 30d")
    return int(found[1]) * _UNITS[found[2]]


def recorded_name(seconds: int) -> str:
    """Return the name of a recorded window. Raises `SpecError` if it is none."""
    for name, length in RECORDED.items():
        if length == seconds:
            return name
    raise SpecError(f"there is no window of {seconds} s; there are {', '.join(RECORDED)}")


def promql_duration(seconds: Fraction | float) -> str:
    """Write seconds as Prometheus writes durations, to the millisecond."""
    left = round(seconds * 1000)
    if left <= 0:
        raise SpecError(f"a window of {float(seconds):g} s is too short; use a larger scale")
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts)
