"""The bounds of all histograms.

Those of OpenTelemetry's conventions are kept exactly. A tail is added where they end too early for a platform that is
meant to be overloaded, and a head where they begin too late for a small model: more bounds leave every query on the
old ones valid.
"""

from typing import Final

Bounds = tuple[float, ...]

GENAI_REQUEST_DURATION: Final[Bounds] = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
GENAI_TIME_TO_FIRST_TOKEN: Final[Bounds] = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
GENAI_TIME_PER_OUTPUT_TOKEN: Final[Bounds] = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
)

REQUEST_DURATION: Final[Bounds] = (*GENAI_REQUEST_DURATION, 163.84, 327.68, 655.36, 1310.72)
"""Seconds. The tail reaches beyond the longest request that the settings allow as shipped."""
TIME_TO_FIRST_TOKEN: Final[Bounds] = (*GENAI_TIME_TO_FIRST_TOKEN, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0)
"""Seconds; vLLM's, too."""
TIME_PER_OUTPUT_TOKEN: Final[Bounds] = (
    *(0.0005, 0.001, 0.0025, 0.005),
    *GENAI_TIME_PER_OUTPUT_TOKEN,
    *(5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
"""Seconds; from 10 ms on vLLM's, too. A model of a few million parameters takes a millisecond or two."""
SHORT_REQUEST: Final[Bounds] = (
    *(0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.32, 0.4, 0.5, 0.64, 0.8),
    *(1.0, 1.3, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 10.0),
)
"""Seconds. Limits of percentiles that objectives name (50, 100, 200 ms and so on), and four fifths of each."""
STEP_DURATION: Final[Bounds] = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds of one step of an engine."""
BATCH: Final[Bounds] = tuple(float(2**power) for power in range(10))
"""Sequences in one step: 1 to 512."""
STEP_TOKENS: Final[Bounds] = (0.0, *(float(2**power) for power in range(0, 15, 2)))
"""Tokens in one step: 0, then powers of 4 from 1 to 16384."""
REQUEST_TOKENS: Final[Bounds] = tuple(float(digit * 10**power) for power in range(6) for digit in (1, 2, 5))
"""Tokens of one request: 1, 2, 5, 10 … 500000."""
RETRY_AFTER: Final[Bounds] = (0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0)
"""Seconds. 120 is the most that is ever said."""
PREDICTION_RATIO: Final[Bounds] = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Actual to predicted."""
SHORT: Final[Bounds] = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds of things that should take no time: a round trip to Redis, the lag of a loop, a scrape."""
DETECTION: Final[Bounds] = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Seconds. 2 is what is promised."""
RECOVERY: Final[Bounds] = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Seconds. 600 is how long a start may take as shipped."""
