"""Everything that a drill plays on, and the one that is played on now: actions and probes are functions without it.

What is broken is noted here (`strikes`), and so is how to undo it (`undo_later`), before it is done.
"""

import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx
import msgspec
import psutil

from spillway_chaos.deadman import Deadman, End, Remove, Undo
from spillway_chaos.drill import Terms
from spillway_chaos.errors import AbortedError, StageError
from spillway_chaos.stage import clock, metrics, targets, tenant
from spillway_chaos.stage.collector import Collector
from spillway_chaos.stage.instance import Instance, Pool
from spillway_chaos.stage.load import LoadResult, LoadRun
from spillway_chaos.stage.proxy import Link
from spillway_chaos.stage.receiver import Receiver
from spillway_chaos.stage.recorder import Change, Recorder
from spillway_chaos.stage.redis import OwnRedis

TIME_SCALE: Final = 0.004
"""Of all windows of objectives: an hour is 14.4 s, and the quickest page looks back over it, and over 1.2 s."""
READY_WITHIN_S: Final = 120.0
SETTLED_WITHIN_S: Final = 20.0
_WARM_REQUESTS: Final = 6
_BUSY: Final = 2
"""Requests that a busy process has at least."""
_BUSY_WITHIN_S: Final = 5.0
_LOOK_S: Final = 0.02


class Strike(msgspec.Struct, frozen=True, kw_only=True):
    """A blow."""

    what: str
    kind: str
    id: str
    pid: int | None = None
    born: float | None = None
    incarnation: int | None = None
    at: float
    """Of the monotonic clock."""
    at_unix: float


class Stage:
    """Use it as a context manager; inside, `current()` is this one."""

    def __init__(self, terms: Terms, *, seed: int = 1, flags: tuple[str, ...] = (), folder: Path | None = None) -> None:
        """`flags` come after those of the drill: those of its negative control."""
        self.terms, self.seed, self._flags = terms, seed, flags
        self.randomness = random.Random(seed)
        self.folder = Path(tempfile.mkdtemp(prefix="spillway-drill-")) if folder is None else folder
        self._keeps_folder = folder is not None
        self.blast = targets.BlastRadius({str(kind): most for kind, most in terms.blast_radius.items()})
        self.strikes: list[Strike] = []
        self.notes: dict[str, Any] = {}
        """What activities leave for later ones."""
        self.links: dict[str, Link] = {}
        self.redis: OwnRedis | None = None
        self.collector: Collector | None = None
        self.loads: dict[str, LoadRun] = {}
        self.result: LoadResult | None = None
        self.before: metrics.Samples = {}
        self.after: metrics.Samples = {}
        self.aborted = threading.Event()
        self.abort_reason = ""
        self.keys_file: Path | None = None
        """The load's keys, if it needs any."""
        self._credentials: dict[str, str] = {}
        self.exit_status: int | None = None
        self.left_over: dict[str, int] = {}
        self._closers: list[Callable[[], object]] = []
        self._instance: Instance | None = None
        self._recorder: Recorder | None = None
        self.changes: list[Change] = []

    # ---- setting up ----

    def __enter__(self) -> Self:
        _stack.append(self)
        self.deadman = Deadman()
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _open(self) -> None:
        if not self._keeps_folder:
            self.undo_later(Remove(path=str(self.folder)))
        self.receiver = Receiver()
        self._closers.append(self.receiver.close)
        if self.terms.platform.tenant:
            self.keys_file, self._credentials = tenant.make(self.folder)
        flags = [*self._links(), *self.terms.platform.flags, *self._flags]
        self._given = ["--drain-grace-s", "0", "--slo-time-scale", str(TIME_SCALE)]
        self._given += ["--slo-webhooks", self.receiver.url, *flags]
        self._start(0, 0)
        self._warm_up()
        self._recorder = Recorder(self._pool)
        self._recorder.start()

    def _start(self, port: int, ops_port: int) -> None:
        ports = ["--port", str(port), "--ops-port", str(ops_port)]
        self._instance = Instance.start([*ports, *self._given], self.folder, self._environment())
        self.instance.credentials = self._credentials
        self.undo_later(End(pid=self.instance.pid, born=psutil.Process(self.instance.pid).create_time()))

    def restart_platform(self) -> None:
        """Start another where one has died, at the same addresses; what was held is counted anew."""
        dead, self._instance = self.instance, None
        dead.end()
        self.notes.pop("books", None)
        self.before = {}
        self._start(urlsplit(dead.api).port or 0, urlsplit(dead.ops).port or 0)

    def _links(self) -> list[str]:
        platform = self.terms.platform
        if platform.collector:
            self.collector = Collector()
            self._closers.append(self.collector.close)
            self.links["collector"] = Link(self.collector.address, seed=self.seed)
        if platform.redis == "proxied":
            self.redis = OwnRedis(self.folder)
            self._closers.append(self.redis.close)
            self.undo_later(End(pid=self.redis.process.pid, born=psutil.Process(self.redis.process.pid).create_time()))
            self.links["redis"] = Link(self.redis.socket, seed=self.seed)
        self._closers += [link.close for link in self.links.values()]
        return ["--redis", f"redis://127.0.0.1:{self.links['redis'].port}"] if "redis" in self.links else []

    def _environment(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        if "collector" in self.links:
            found["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{self.links['collector'].port}"
            found["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
            found["OTEL_BSP_SCHEDULE_DELAY"] = "200"
        if self.terms.platform.clock:
            found |= clock.environment(self.folder)
        return found

    def _warm_up(self) -> None:
        """Have everything opened for good that the first requests open, and the paces learnt."""
        wrong = self.instance.until(whole, READY_WITHIN_S)
        if wrong:
            raise StageError(f"the platform is not whole within {READY_WITHIN_S:g} s: {wrong}")
        deadline = time.monotonic() + SETTLED_WITHIN_S
        asked = 0
        while not asked or _cold(self.instance.pool()):
            if time.monotonic() > deadline:
                raise StageError(f"after {asked} requests a gateway has had none: {_cold(self.instance.pool())}")
            with ThreadPoolExecutor(_WARM_REQUESTS) as together:
                for answer in together.map(self._first, range(_WARM_REQUESTS)):
                    if answer.status_code != httpx.codes.OK:
                        raise StageError(f"a first request: {answer.status_code}: {answer.text[:200]}")
            asked += _WARM_REQUESTS
        wrong = self.instance.until(lambda pool: idle(pool) or _stored(pool, asked), SETTLED_WITHIN_S)
        if wrong:
            raise StageError(f"the platform does not settle: {wrong}")

    def _first(self, number: int) -> httpx.Response:
        return self.instance.count(7 * number + 1, 7 * number + 9, alone=True)

    def _pool(self) -> Pool:
        return self.instance.pool()  # of the one that runs now

    @property
    def instance(self) -> Instance:
        """The platform."""
        if self._instance is None:
            raise StageError("there is no platform")
        return self._instance

    # ---- playing ----

    def undo_later(self, undo: Undo) -> int:
        """Say how something is undone, before it is done; return its number, for `undo_now`."""
        return self.deadman.arm(undo)

    def undo_now(self, number: int) -> None:
        """Undo it. Idempotent."""
        self.deadman.undo(number)

    def target(self, kind: targets.Kind, which: targets.Which) -> targets.Target:
        """Choose a process of the platform; `busiest` waits, a little, until one has something to do."""
        deadline = time.monotonic() + _BUSY_WITHIN_S
        while True:
            place = targets.choose(self.instance.pool(), kind, which, self.randomness)
            if which != targets.BUSIEST or targets.load_of(place) >= _BUSY or time.monotonic() > deadline:
                return targets.owned(self.instance.pid, place, kind)
            self.pause(_LOOK_S)

    def strike(self, what: str, kind: str, id_: str, **more: Any) -> Strike:
        """Take note of a blow, right before it falls. Raises `BlastError` if it may not."""
        self.blast.claim(kind, id_)
        strike = Strike(what=what, kind=kind, id=id_, at=time.monotonic(), at_unix=time.time(), **more)
        self.strikes.append(strike)
        return strike

    def scrape(self) -> metrics.Samples:
        """Return what is counted now. Raises `StageError`."""
        try:
            return metrics.read(self.instance.ops_get("/metrics").text)
        except httpx.HTTPError as error:
            raise StageError(f"ops does not tell its metrics: {type(error).__name__}") from None

    def pause(self, seconds: float) -> None:
        """Wait, unless the drill is aborted. Raises `AbortedError`."""
        if self.aborted.wait(seconds):
            raise AbortedError(self.abort_reason)

    def abort(self, why: str) -> None:
        """Have the method end at its next pause, or activity."""
        self.abort_reason = self.abort_reason or why
        self.aborted.set()

    def restore(self) -> None:
        """Undo every fault: links are cured, what was stopped goes on; the platform stays. Idempotent."""
        for link in self.links.values():
            link.cure()
            link.up()
        for number in self.notes.pop("undo", []):
            self.undo_now(number)
        for name, load in list(self.loads.items()):
            if name != MAIN:
                load.stop()
        for stop in self.notes.pop("stop", []):
            stop()
        if self.redis is not None:
            self.redis.restart()

    # ---- clearing away ----

    def end_platform(self) -> None:
        """End it in good order, and note its exit status and what it left. Idempotent."""
        if self._recorder is not None:
            self.changes = self._recorder.stop()
        if self._instance is None:
            return
        instance, self._instance = self._instance, None
        known = _descendants(instance.pid)
        self.exit_status = instance.end()
        _, alive = psutil.wait_procs(known, timeout=5.0)
        self.left_over = {" ".join(process.cmdline()[:4]) or str(process.pid): process.pid for process in alive}

    def __exit__(self, *_: object) -> None:
        """Idempotent."""
        for load in self.loads.values():
            load.stop()
        if self._instance is not None:
            self.restore()
        self.end_platform()
        for close in reversed(self._closers):
            close()
        self._closers.clear()
        self.deadman.close()
        if self in _stack:
            _stack.remove(self)


MAIN: Final = "main"
"""The load throughout."""
_stack: list[Stage] = []


def current() -> Stage:
    """Return the stage that is played on now. Raises `StageError`."""
    if not _stack:
        raise StageError(
            "there is no stage: run drills with `spillway chaos run`, or with their control under `chaos run`"
        )
    return _stack[-1]


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


# ---- conditions on the pool: what is wrong, or nothing ----


def whole(pool: Pool) -> str:
    """Every place is ready."""
    places = [*pool["engines"], *pool["gateways"], pool["ops"], pool["redis"]]
    known = [(place["id"], place["state"]) for place in places if "id" in place]  # a Redis of others has no place
    wrong = [f"{id_} is {state}" for id_, state in known if state != "ready"]
    return "; ".join(wrong) or ("" if pool["ready"] else "it is not ready")


def idle(pool: Pool) -> str:
    """Nothing runs."""
    engines, gateways = pool["engines"], pool["gateways"]
    wrong = [
        f"{engine['id']} has {engine['running']} running, {engine['waiting']} waiting, "
        f"{engine['kv_blocks']['total'] - engine['kv_blocks']['free']} blocks in use"
        for engine in engines
        if engine["running"] or engine["waiting"] or engine["kv_blocks"]["free"] != engine["kv_blocks"]["total"]
    ]
    for gateway in gateways:
        entries = gateway["facts"].get("journal_entries", 0) + gateway["facts"].get("claims_open", 0)
        if gateway["open_requests"] or entries:
            wrong.append(
                f"{gateway['id']} has {gateway['open_requests']} requests open, {entries:g} journalled or claimed"
            )
    return "; ".join(wrong)


def _cold(pool: Pool) -> str:
    """Which gateways have had nothing to do yet."""
    return ", ".join(str(gateway["id"]) for gateway in pool["gateways"] if not gateway["counters"].get("arrivals"))


def _stored(pool: Pool, num: int) -> str:
    stored = sum(gateway["facts"].get("traces_stored", 0.0) for gateway in pool["gateways"])
    return "" if stored >= num else f"{stored:g} of {num} traces are stored"


def pid_exists(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        os.kill(pid, 0)
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
