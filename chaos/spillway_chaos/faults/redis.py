"""Faults of Redis itself; of the stage's own, which stands behind the link `redis`."""

import os
import signal

import psutil
import redis

from spillway_chaos.deadman import Continue
from spillway_chaos.errors import FaultError
from spillway_chaos.stage.redis import OwnRedis
from spillway_chaos.stage.stage import current


def flush() -> None:
    """Lose everything that it holds."""
    own = _own("FLUSHALL")
    own.client.flushall()


def lose_scripts() -> None:
    """Forget every script."""
    own = _own("SCRIPT FLUSH")
    own.client.script_flush("SYNC")


def fill() -> None:
    """Have no memory for anything new."""
    own = _own("maxmemory")
    own.client.config_set("maxmemory-policy", "noeviction")
    own.client.config_set("maxmemory", "1")
    current().notes.setdefault("stop", []).append(end_fill)


def end_fill() -> None:
    """Have memory again. Idempotent."""
    own = current().redis
    if own is not None:
        try:
            own.client.config_set("maxmemory", "0")
        except redis.RedisError as error:
            raise FaultError(f"Redis does not take its memory back: {error}") from None


def signal_redis(name: str = "SIGKILL") -> None:
    """Send a signal to it; a killed one is started again by `end_signal`."""
    own = _own(name)
    process = own.process
    if name == "SIGSTOP":
        stage = current()
        undo = Continue(pid=process.pid, born=psutil.Process(process.pid).create_time())
        stage.notes.setdefault("undo", []).append(stage.undo_later(undo))
    os.kill(process.pid, signal.Signals[name])
    if name == "SIGKILL":
        process.wait()


def end_signal() -> None:
    """Let it go on, or start it again, empty."""
    stage = current()
    for number in stage.notes.pop("undo", []):
        stage.undo_now(number)
    if stage.redis is not None:
        stage.redis.restart()


def _own(what: str) -> OwnRedis:
    stage = current()
    if stage.redis is None:
        raise FaultError("the stage has no Redis of its own; the drill's platform needs `redis: proxied`")
    stage.notes["struck_before"] = stage.scrape()
    stage.strike(what, "redis", "redis", pid=stage.redis.process.pid)
    return stage.redis
