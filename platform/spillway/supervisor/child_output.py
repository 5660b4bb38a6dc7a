"""What children write, on its way to the operator: event lines stay events, anything else becomes one."""

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from spillway.supervisor.process import Stream


def parse_event(line: str) -> dict[str, Any] | None:
    """Return an event line (`spillway_wire.oplog`) without its time, or None if it is any other line."""
    if not line.startswith("{"):
        return None
    with contextlib.suppress(msgspec.DecodeError):
        event = msgspec.json.decode(line)
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            event.pop("at", None)
            return event
    return None


def error_in(line: str) -> str:
    """Return what a line on standard error says of an error: an event's `error`, a plain line itself, or nothing."""
    event = parse_event(line)
    return line if event is None else str(event.get("error", ""))


def forward(log: Callable[..., None], child: str) -> Callable[[Stream, str], None]:
    """Return what passes a child's lines on to `log`."""

    def pass_on(_: Stream, line: str) -> None:
        event = parse_event(line)
        if event is not None:
            log(event.pop("event"), **{"child": child, **event})
        elif line:
            log("output", child=child, line=line)

    return pass_on
