"""What a run came to: `result.json`, which other programs read. Times in seconds, unless a name ends in `_ms`."""

import msgspec

VERSION = 1
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


def percentile_name(percent: float) -> str:
    """Return how a percentile is called: p50, p999."""
    return f"p{percent:g}".replace(".", "")


class LatencyRow(msgspec.Struct):
    """One series; null: never, or not known."""

    measure: str
    tier: str
    of: str
    """`served`: answers that came whole; `all`: with those that were refused or failed, which count as never."""
    count: int
    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    p999: float | None
    max: float | None
    intervals: dict[str, tuple[float | None, float | None]]
    """Of each percentile, 95 %."""
    unit: str = "ms"


class ShareRow(msgspec.Struct):
    """A share of requests, with its confidence interval."""

    value: float | None
    low: float
    high: float
    count: int
    of: int


class Second(msgspec.Struct):
    """One second of the run."""

    second: int
    due: int = 0
    good: int = 0
    """By when they ended, as the next three."""
    ended: int = 0
    refused: int = 0
    failed: int = 0
    tokens: float = 0.0
    """By when they came."""
    open: int = 0
    """At its end."""
    ttft_p50_ms: float | None = None
    """Of the requests due in it, as the next two."""
    ttft_p95_ms: float | None = None
    e2e_p95_ms: float | None = None


class Exactness(msgspec.Struct):
    """Answers that came whole, held against what they should say."""

    checked: int
    exact: int
    inexact: int
    mistakes: int
    """The model's own: an undisturbed second asking gives the same text."""
    examples: list[dict[str, str]]


class Pauses(msgspec.Struct):
    """When nothing came."""

    longest_s: float = 0.0
    """Between two pieces of one stream, or from its last piece to its breaking."""
    longest_at_s: float | None = None
    """When it began."""
    silence_s: float = 0.0
    """No piece of any stream, while one was open past its first."""
    silence_at_s: float | None = None


class Lag(msgspec.Struct):
    """How late the generator itself was."""

    p50_ms: float
    p99_ms: float
    max_ms: float
    loop_p99_ms: float
    """Of a greenlet that only wants to wake up every 10 ms: a reader is as late."""
    limit_ms: float
    valid: bool
    scheduling: str = ""
    cpu_s: float = 0.0
    """Processor time of all workers."""


class ServerClock(msgspec.Struct):
    """The client's TTFT from sending, less the server's own account (`openai-processing-ms`, whole milliseconds)."""

    n: int
    ttft_p50_difference_ms: float | None
    ttft_abs_p99_ms: float | None


class Judged(msgspec.Struct):
    """An objective, and what was measured."""

    text: str
    measured: float | None
    """Null: never."""
    low: float | None
    high: float | None
    met: bool
    certain: bool
    """Whether the whole confidence interval says the same."""
    method: str = ""


class Level(msgspec.Struct):
    """One rate of a saturation search."""

    rate: float
    met: bool
    valid: bool
    good_per_s: float
    tokens_per_s: float
    good_share: float | None
    shed_share: float | None
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None
    ttft_p99_ms: float | None
    missed: list[str]


class Result(msgspec.Struct, kw_only=True):
    """All of it."""

    version: int = VERSION
    campaign: str
    about: str
    url: str
    seed: int
    started_unix: float
    started_monotonic: float
    seconds: float
    duration_s: float
    cut: bool
    arrivals: int
    attempts: int
    fates: dict[str, int]
    outcomes: dict[str, int]
    exactness: Exactness
    latency: list[LatencyRow]
    shares: dict[str, ShareRow]
    good_per_s: float
    good_per_s_interval: tuple[float, float | None]
    tokens_per_s: float
    requests_per_s: float
    timeline: list[Second]
    pauses: Pauses
    lag: Lag
    server: ServerClock
    valid: bool
    objectives: list[Judged]
    met: bool
    exit: int
    formulas: dict[str, str]
    notes: list[str]
    """Such as the scale of a trace."""
    levels: list[Level] | None = None
    highest_rate: float | None = None
