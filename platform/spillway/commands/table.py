"""The state of an instance, as `GET /admin/pool` tells it, for people. What it does not tell is shown as a dash."""

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_COLOURS: Final = {
    "ready": "green",
    "standby": "green",
    "serving": "green",
    "running": "green",
    "draining": "yellow",
    "spawning": "yellow",
    "loading": "yellow",
    "warming": "yellow",
    "backoff": "red",
    "crashed": "red",
    "hung": "red",
    "parked": "bold red",
    "stopped": "dim",
}
_UNKNOWN: Final = "-"


def render(status: Mapping[str, Any], url: str) -> RenderableType:
    """Return the whole picture."""
    ready = Text("ready", "bold green") if status.get("ready") else Text("not ready", "bold red")
    supervisor = status.get("supervisor") or {}
    uptime = supervisor.get("uptime_s")
    head = Text.assemble("Spillway ", ready, f"  phase {_plain(status.get('phase'))}  {url}")
    if uptime is not None:
        head.append(f"  up {duration(uptime)}")
    engines = status.get("engines") or []
    return Group(head, "", _engines(engines), "", _others(status), *_ends(engines))


def _engines(engines: list[Mapping[str, Any]]) -> Table:
    table = _table("engine", "model", "state", "pid", "life", "running", "waiting", "KV blocks", "restarts")
    for engine in engines:
        blocks = engine.get("kv_blocks") or {}
        free, total = blocks.get("free"), blocks.get("total")
        used = _UNKNOWN if free is None or total is None else f"{total - free}/{total}"
        restarts = sum((engine.get("restarts") or {}).values())
        table.add_row(
            _plain(engine.get("id")),
            _plain(engine.get("model")),
            _state(engine.get("state")),
            _plain(engine.get("pid")),
            _plain(engine.get("incarnation")),
            _plain(engine.get("running")),
            _plain(engine.get("waiting")),
            used,
            str(restarts),
        )
    return table


def _ends(engines: list[Mapping[str, Any]]) -> list[Text]:
    """Return why engines ended last, a line each."""
    lines = []
    for engine in engines:
        last = engine.get("last_exit")
        if last:
            message = " ".join(str(last.get("message") or "").split())
            words = f"{engine.get('id')} ended last ({last.get('cause')}): {message}"
            lines.append(Text(words, "dim", overflow="ellipsis", no_wrap=True))
    return [Text(""), *lines] if lines else []


def _others(status: Mapping[str, Any]) -> Table:
    table = _table("process", "state", "pid", "open requests", "loop lag")
    rows = [*(status.get("gateways") or [])]
    rows += [{"id": name, **status[name]} for name in ("ops", "redis") if status.get(name)]
    for row in rows:
        lag = row.get("loop_lag_ms")
        table.add_row(
            _plain(row.get("id")),
            _state(row.get("state")),
            _plain(row.get("pid")),
            _plain(row.get("open_requests")),
            _UNKNOWN if lag is None else f"{lag:.1f} ms",
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        numeric = column in {"pid", "life", "running", "waiting", "KV blocks", "restarts", "open requests", "loop lag"}
        table.add_column(column, justify="right" if numeric else "left", no_wrap=True)
    return table


def _plain(value: object) -> Text:
    return Text(_UNKNOWN if value is None else str(value))  # not markup: a model's name may hold brackets


def _state(value: object) -> Text:
    return Text(_UNKNOWN, "") if value is None else Text(str(value), _COLOURS.get(str(value), ""))


def duration(seconds: float) -> str:
    """Return a span of time in its two largest units."""
    whole = int(seconds)
    for size, unit, smaller, small_unit in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller} {small_unit}"
    return f"{whole} s"
