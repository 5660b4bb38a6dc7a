"""One incarnation of an engine: its process, its progress page and the control channel to it.

It is ready when it has said so on standard output *and* answered on its control channel: who is told of it then can
connect. When it ends with a status of its own, its last words are still on their way on another socket; as the kernel
closes a process's sockets before it tells its end, waiting for the end of that channel costs no time.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spillway.runtime import RuntimeFolder
from spillway.supervisor.child_output import error_in, parse_event
from spillway.supervisor.engine_link import EngineLink
from spillway.supervisor.exits import KernelKills
from spillway.supervisor.lifecycle import Event
from spillway.supervisor.process import ChildProcess, Stream
from spillway.supervisor.run import Asked, Ended, Signs
from spillway.supervisor.series_books import ChildSeries
from spillway.supervisor.totals import Totals, engine_counts
from spillway.supervisor.watchdog import late_engine
from spillway_wire.messages import Drain, Inject, Injected, Stop
from spillway_wire.page import Aboard, Counter, EngineState, PageReader, create_page

_LAST_WORDS_WITHIN_S = 0.05
_CONNECT_AGAIN_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """One engine place, as it was planned."""

    engine_id: str
    model: str
    """Name of the served model."""
    command: tuple[str, ...]
    """Program and flags, without what differs from incarnation to incarnation."""
    environment: Mapping[str, str] = field(default_factory=dict)


class EngineRun:
    """See the module; a `Run`."""

    def __init__(
        self,
        spec: EngineSpec,
        runtime: RuntimeFolder,
        incarnation: int,
        signs: Signs,
        *,
        parent_pid: int,
        hang_floor_s: Callable[[], float],
        totals: Totals,
        kernel_kills: KernelKills,
        log: Callable[..., None],
        series: ChildSeries | None = None,
    ) -> None:
        """Start it. `hang_floor_s` is asked at every look: it may change. Raises OSError, and then leaves nothing."""
        self._series = series
        self._spec, self._signs, self._totals, self._log = spec, signs, totals, log
        self._incarnation = incarnation
        self._hang_floor_s = hang_floor_s
        self._kernel_kills = kernel_kills
        self._kills_before = kernel_kills.read()
        self._link: EngineLink | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_error = ""
        self._page_file = runtime.page(spec.engine_id, incarnation)
        self._socket_file = runtime.engine_socket(spec.engine_id, incarnation)
        create_page(self._page_file)
        self._page = PageReader(self._page_file)
        try:
            self._process = ChildProcess(
                (*_command(spec, runtime, incarnation, self._page_file, parent_pid), *_series_flags(series)),
                environment=spec.environment,
                on_line=self._line,
                on_exit=self._exited,
            )
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ask(self, asked: Asked) -> None:
        """Ask by order if it listens, else by signal: while it loads, the first ends it at its next report."""
        if asked is Asked.KILL:
            self._process.send_signal(signal.SIGKILL)
            return
        if self._link is not None and self._link.send(Drain() if asked is Asked.DRAIN else Stop()):
            return
        self._process.send_signal(signal.SIGTERM)
        if asked is Asked.STOP:
            self._process.send_signal(signal.SIGTERM)

    def inject(self, message: Inject) -> "asyncio.Future[Injected]":
        """Ask it to arm a fault. Raises ConnectionError if it cannot be reached."""
        if self._link is None:
            raise ConnectionError(f"{self._spec.engine_id} is not ready")
        return self._link.inject(message)

    # ---- signs of life ----

    def late(self, now_ns: int) -> str | None:
        """Judge by the page; an engine that began to drain of its own accord (by a signal) is noticed, too."""
        progress = self._page.read()
        if progress is not None and progress.state is EngineState.DRAINING:
            self._signs.moved(Event.DRAIN)
        return late_engine(progress, now_ns, int(self._hang_floor_s() * 1e9))

    def aboard(self) -> tuple[Aboard, ...]:
        """Sequences of the running step."""
        progress = self._page.read()
        return () if progress is None or progress.started_ns is None else progress.aboard

    def last_sign_ns(self) -> int | None:
        """When it last wrote on its page."""
        progress = self._page.read()
        return None if progress is None else progress.ticked_ns

    def facts(self) -> dict[str, Any]:
        """Counts over all incarnations, the gauges of this one, and what it said of itself."""
        counts, gauges = engine_counts(self._counters())
        welcome = None if self._link is None else self._link.welcome
        return {
            **gauges,
            "counters": self._totals.plus(counts),
            "num_blocks": 0 if welcome is None else welcome.capacity.num_blocks,
            "block_size": None if welcome is None else welcome.capacity.block_size,
            "exactness": None if welcome is None else str(welcome.exactness),
        }

    def _counters(self) -> Mapping[Counter, int]:
        progress = self._page.read()
        return {} if progress is None else progress.counters

    # ---- what it says ----

    def _line(self, stream: Stream, line: str) -> None:
        if stream is Stream.OUTPUT:
            word, _, address = line.partition(" ")
            if word == "ready":
                self._begin(self._connect(address))
            return
        self._last_error = error_in(line) or self._last_error
        event = parse_event(line)
        if event is None:
            self._log("output", engine=self._spec.engine_id, incarnation=self._incarnation, line=line)
            return
        name = event.pop("event")
        if name == "loading":
            phase = str(event.get("phase", ""))
            self._signs.moved(Event.WARM if phase.startswith("warm") else Event.LOAD, _share(phase, event.get("share")))
        else:
            self._log(name, **event)

    def _begin(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, address: str) -> None:
        while self._process.status is None:  # until it ends, or its start-up deadline ends it
            try:
                self._link = await EngineLink.open(address, self._signs.ready)
            except OSError as error:
                self._log("engine_unreachable", engine=self._spec.engine_id, address=address, error=str(error))
                await asyncio.sleep(_CONNECT_AGAIN_S)
            else:
                return

    # ---- its end ----

    def _exited(self, status: int) -> None:
        if status >= 0 and self._link is not None and self._link.is_open:
            self._begin(self._hear_last_words(self._link, status))
        else:
            self._report(status)

    async def _hear_last_words(self, link: EngineLink, status: int) -> None:
        await asyncio.wait([link.closed], timeout=_LAST_WORDS_WITHIN_S)
        self._report(status)

    def _report(self, status: int) -> None:
        self._signs.ended(
            Ended(
                status=status,
                last_error=self._last_error,
                words=None if self._link is None else self._link.words,
                aboard=self.aboard(),
                served=self._counters().get(Counter.OUTPUT_TOKENS, 0) > 0,
                kernel_kills=self._kernel_kills.read() - self._kills_before,
            )
        )

    def close(self) -> None:
        """Keep its counters, and remove its page and its socket."""
        self._totals.keep(engine_counts(self._counters())[0])
        if self._series is not None:
            self._series.close()
        self._page.close()
        if self._link is not None:
            self._link.close()
        for task in self._tasks - {_current()}:
            task.cancel()
        for file in (self._page_file, self._socket_file):
            file.unlink(missing_ok=True)


def _command(spec: EngineSpec, runtime: RuntimeFolder, incarnation: int, page: Path, parent_pid: int) -> Sequence[str]:
    return (
        *spec.command,
        *("--address", runtime.engine_address(spec.engine_id, incarnation)),
        *("--engine-id", spec.engine_id, "--incarnation", str(incarnation)),
        *("--page", str(page), "--parent-pid", str(parent_pid)),
    )


def _series_flags(series: ChildSeries | None) -> Sequence[str]:
    return () if series is None or series.path is None else ("--series", str(series.path))


def _share(phase: str, share: object) -> str:
    return f"{phase} {share:.0%}" if isinstance(share, float) and 0 < share < 1 else phase


def _current() -> "asyncio.Task[Any] | None":
    with contextlib.suppress(RuntimeError):
        return asyncio.current_task()
    return None
