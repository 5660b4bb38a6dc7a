"""Proofs that a fault took hold: without one a green drill shows nothing. Each waits, so long, for what it wants."""

import array
import email.utils
import fcntl
import os
import resource
import socket
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from spillway_chaos.errors import FaultError
from spillway_chaos.stage import metrics, targets
from spillway_chaos.stage.instance import Pool
from spillway_chaos.stage.stage import Strike, current, pid_exists

_LOOK_S = 0.02


def process_gone(within_s: float = 2.0) -> str:
    """The process that was struck last is there no more."""
    strike = _last()
    return _until(lambda: f"process {strike.pid} of {strike.id} is still there" if _lives(strike) else "", within_s)


def process_replaced(within_s: float = 20.0) -> str:
    """It is gone, and its place has a successor that is ready."""
    strike = _last()

    def wanted(pool: Pool) -> str:
        if _lives(strike):
            return f"process {strike.pid} of {strike.id} is still there"
        place = next(place for place in targets.places(pool, strike.kind) if place["id"] == strike.id)
        is_next = place["incarnation"] > (strike.incarnation or 0) and place["state"] == "ready"
        return "" if is_next else f"{strike.id} is {place['state']}, incarnation {place['incarnation']}"

    return current().instance.until(wanted, within_s)


def process_stopped(within_s: float = 1.0) -> str:
    """It is stopped, by /proc, or was stopped so surely that it has been killed for it."""
    strike = _last()

    def wrong() -> str:
        try:
            state = Path(f"/proc/{strike.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return f"process {strike.pid} is gone"
        return "" if state in {"T", "t"} else f"process {strike.pid} is in the state {state}"

    return _until(wrong, within_s)


def engine_parked(within_s: float = 5.0) -> str:
    """The engine that was struck last has been given up, for the time being."""
    strike = _last()

    def wanted(pool: Pool) -> str:
        place = next(place for place in pool["engines"] if place["id"] == strike.id)
        return "" if place["state"] == "parked" else f"{strike.id} is {place['state']}"

    return current().instance.until(wanted, within_s)


def engine_killed_again(times: int = 2) -> str:
    """The crash loop went on for so many deaths."""
    kills = int(current().notes.get("crash_loop", {}).get("kills", 0))
    return "" if kills >= times else f"the engine was killed {kills} times, not {times}"


def engine_stuck(seconds: float = 0.5, within_s: float = 5.0) -> str:
    """The engine that was struck last lives, has work, and ends no step for so long."""
    strike, instance = _last(), current().instance

    def look() -> tuple[int, int, int]:
        place = next(place for place in instance.pool()["engines"] if place["id"] == strike.id)
        return place["incarnation"], place["running"], place["counters"]["steps"]

    def wrong() -> str:
        before = look()
        current().pause(seconds)
        now = look()
        if now[0] != strike.incarnation:
            return f"{strike.id} is another one by now"
        return "" if now[1] and now[2] == before[2] else f"{strike.id} has {now[1]} running, and ended {now[2]} steps"

    return _until(wrong, within_s)


def fault_struck(times: int = 1, within_s: float = 10.0) -> str:
    """Injected faults struck, by the engines' own count."""
    return metric_grew("spillway_engine_faults_struck_total", times, within_s=within_s)


def metric_grew(name: str, by: float = 1.0, labels: Mapping[str, str] | None = None, within_s: float = 10.0) -> str:
    """A counter has grown by so much since right before the fault."""
    stage = current()
    before = metrics.total(stage.notes.get("struck_before", stage.before), name, **(labels or {}))

    def wrong() -> str:
        grown = metrics.total(stage.scrape(), name, **(labels or {})) - before
        return "" if grown >= by else f"{name} grew by {grown:g}, not {by:g}"

    return _until(wrong, within_s)


def metric_is(name: str, at_least: float, labels: Mapping[str, str] | None = None, within_s: float = 10.0) -> str:
    """A gauge is, at some moment, at least so high."""
    stage = current()

    def wrong() -> str:
        value = metrics.total(stage.scrape(), name, **(labels or {}))
        return "" if value >= at_least else f"{name} is {value:g}, not {at_least:g}"

    return _until(wrong, within_s)


def metric_at_most(name: str, at_most: float, labels: Mapping[str, str] | None = None, within_s: float = 10.0) -> str:
    """A gauge is, at some moment, at most so high."""
    stage = current()

    def wrong() -> str:
        value = metrics.total(stage.scrape(), name, **(labels or {}))
        return "" if value <= at_most else f"{name} is {value:g}, not {at_most:g} or less"

    return _until(wrong, within_s)


def link_poisoned(link: str, at_least_bytes: int = 1, within_s: float = 10.0) -> str:
    """Data, or a connection, has met the toxic."""
    counts = current().links[link].counts

    def wrong() -> str:
        met = counts.poisoned_bytes >= at_least_bytes or counts.cut
        return "" if met else f"{counts.poisoned_bytes} bytes met the toxic, and no connection was cut"

    return _until(wrong, within_s)


def redis_counted(stat: str, at_least: int = 1, within_s: float = 5.0) -> str:
    """Redis itself has counted so many, such as `cmdstat_flushall` or `errorstat_OOM`."""
    own = current().redis
    if own is None:
        raise FaultError("the stage has no Redis of its own; the drill's platform needs `redis: proxied`")
    client = own.client

    def wrong() -> str:
        found: Any = client.info("everything").get(stat, {})
        count = int(found.get("calls") or found.get("count") or 0) if isinstance(found, dict) else int(found or 0)
        return "" if count >= at_least else f"Redis has counted {count} of {stat}, not {at_least}"

    return _until(wrong, within_s)


def engines_calm(at_most: int, within_s: float = 5.0) -> str:
    """No more sequences run, or wait, on all engines together."""

    def wanted(pool: Pool) -> str:
        busy = sum(engine["running"] + engine["waiting"] for engine in pool["engines"])
        return "" if busy <= at_most else f"{busy} sequences are on engines, not {at_most} or fewer"

    return current().instance.until(wanted, within_s)


def limit_in_force() -> str:
    """The kernel says that the process has the lowered limit."""
    pid, what, soft = current().notes.get("limit", (0, 0, 0))
    try:
        now = resource.prlimit(pid, what)[0]
    except ProcessLookupError:
        return f"process {pid} is gone"
    return "" if now == soft else f"the limit of process {pid} is {now}, not {soft}"


def cpu_contested(within_s: float = 3.0) -> str:
    """The competitors get CPU time."""
    spinners: list[int] = current().notes.get("spinners", [])
    if not spinners:
        return "there are no competitors"

    def wrong() -> str:
        used = sum(_cpu_s(pid) for pid in spinners)
        return "" if used >= 0.5 else f"the competitors have had {used:g} s of CPU time"

    return _until(wrong, within_s)


def clock_jumped(within_s: float = 5.0) -> str:
    """The API's answers bear a date that lies as far off as was ordered."""
    stage = current()
    wanted = float(stage.notes.get("clock", 0.0))

    def wrong() -> str:
        date = stage.instance.api_get("/health").headers.get("date", "")
        if not date:
            return "the API's answers bear no date"
        off = email.utils.parsedate_to_datetime(date).timestamp() - time.time()
        return "" if abs(off - wanted) <= 2.0 else f"the API's clock is off by {off:.0f} s, not {wanted:g} s"

    return _until(wrong, within_s)


def readers_stalled(within_s: float = 10.0) -> str:
    """Every client that reads nothing has data waiting in its kernel, and none of them is at its end."""
    connections: list[socket.socket] = current().notes.get("stalled", [])

    def wrong() -> str:
        waiting = sum(_unread(connection) > 0 and _is_served(connection) for connection in connections)
        return "" if waiting == len(connections) > 0 else f"{waiting} of {len(connections)} clients have data to read"

    return _until(wrong, within_s)


def pills_refused(at_least: int = 1) -> str:
    """Of the poisonous requests, so many were ended by an error of the platform's, and none completed."""
    ends: list[str] = current().notes.get("pills", [])
    completed = [end for end in ends if end == "200"]
    if completed:
        return f"{len(completed)} of {len(ends)} poisonous requests were answered"
    return "" if len(ends) >= at_least else f"{len(ends)} poisonous requests have ended"


def platform_gone(within_s: float = 5.0) -> str:
    """Of the whole platform no process is left, and nobody answers at its ports."""
    stage = current()
    family: list[int] = stage.notes.get("family", [])

    def wrong() -> str:
        left = [pid for pid in family if pid_exists(pid)]
        if left:
            return f"{len(left)} processes are left: {', '.join(map(str, left))}"
        for port in (stage.instance.api, stage.instance.ops):
            try:
                httpx.get(f"{port}/health", timeout=1.0, trust_env=False)
            except httpx.HTTPError:
                continue
            return f"something still answers at {port}"
        return ""

    return _until(wrong, within_s)


def _until(wrong: Callable[[], str], within_s: float) -> str:
    stage, deadline = current(), time.monotonic() + within_s
    while True:
        said = wrong()
        if not said or time.monotonic() > deadline:
            return said
        stage.pause(_LOOK_S)


def _last() -> Strike:
    strikes = [strike for strike in current().strikes if strike.pid is not None]
    if not strikes:
        raise FaultError("no process has been struck yet")
    return strikes[-1]


def _lives(strike: Strike) -> bool:
    return strike.pid is not None and pid_exists(strike.pid)


def _unread(connection: socket.socket) -> int:
    held = array.array("i", [0])
    fcntl.ioctl(connection.fileno(), termios.FIONREAD, held)
    return held[0]


def _is_served(connection: socket.socket) -> bool:
    return b" 200 " in connection.recv(15, socket.MSG_PEEK)


def _cpu_s(pid: int) -> float:
    try:
        fields: list[Any] = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
