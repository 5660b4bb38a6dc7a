"""Records of load on paper."""

from typing import Any

from spillway_load.record import Record


def record(
    number: int = 0, *, ttft_ms: float = 10.0, gaps_ms: tuple[float, ...] = (5.0, 5.0), **changes: Any
) -> Record:
    """A request that was due at its number's tenth of a second, and was answered well."""
    due = number / 10
    first = due + ttft_ms / 1000
    facts: dict[str, Any] = {
        "number": number,
        "due_s": due,
        "begun_s": due + 0.001,
        "sent_s": due + 0.002,
        "first_s": first,
        "ended_s": first + sum(gaps_ms) / 1000,
        "gaps_us": [round(1000 * gap) for gap in gaps_ms],
        "attempts": 1,
        "status": 200,
        "outcome": "completed",
        "num_tokens": len(gaps_ms) + 1,
        "is_right": True,
        "is_mistake": False,
        "server_ms": 7,
        "is_slow": False,
        "work": "count",
        "tier": "all",
        "tenant": "",
    }
    return Record(**{**facts, **changes})


def refused(number: int = 0, **changes: Any) -> Record:
    return record(number, **{"status": 429, "outcome": "overloaded", **_NOTHING, **changes})


def failed(number: int = 0, **changes: Any) -> Record:
    return record(number, **{"status": 500, "outcome": "engine_failed", **_NOTHING, **changes})


_NOTHING: dict[str, Any] = {"first_s": None, "gaps_ms": (), "num_tokens": 0, "is_right": False, "server_ms": None}
