"""One incarnation of a gateway or of ops: its process, its beats on the control plane and, of a gateway, its tally."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spillway.supervisor.child_output import error_in
from spillway.supervisor.process import ChildProcess, Stream
from spillway.supervisor.run import Asked, Ended, Signs
from spillway.supervisor.series_books import ChildSeries, rest_of
from spillway.supervisor.totals import Totals, open_requests, settle
from spillway.supervisor.watchdog import late_beat
from spillway_wire.page import Aboard
from spillway_wire.plane import ChildBeat
from spillway_wire.tally import TallyReader, create_tally


class ServiceRun:
    """See the module; a `Run`."""

    def __init__(
        self,
        command: Sequence[str],
        signs: Signs,
        *,
        listener_fd: int,
        tally: Path | None,
        totals: Totals,
        signals: Mapping[Asked, signal.Signals],
        on_line: Callable[[Stream, str], None],
        series: ChildSeries | None = None,
    ) -> None:
        """Start `command`; what is not in `signals` is asked of the process by other means than a signal.

        Raises OSError, and then leaves nothing behind.
        """
        self._signs, self._totals, self._signals = signs, totals, signals
        self._series = series
        self._tally_file, self._tally = tally, None
        if tally is not None:
            create_tally(tally)
            self._tally = TallyReader(tally)
        self._beat = ChildBeat(at_ns=0)
        self._beat_ns = 0
        self._last_error = ""
        self._on_line = on_line
        try:
            self._process = ChildProcess(command, pass_fds=(listener_fd,), on_line=self._line, on_exit=self._exited)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def open_requests(self) -> int:
        """Arrivals without an outcome, at this moment."""
        return open_requests(self._counts())

    def ask(self, asked: Asked) -> None:
        """Ask it by the signal that means so."""
        number = signal.SIGKILL if asked is Asked.KILL else self._signals.get(asked)
        if number is not None:
            self._process.send_signal(number)

    def ready(self) -> None:
        """It said on the plane that it can serve."""
        self._beat_ns = time.monotonic_ns()
        self._signs.ready()

    def beat(self, beat: ChildBeat) -> None:
        """It said on the plane that its loop turns."""
        self._beat, self._beat_ns = beat, time.monotonic_ns()

    def late(self, now_ns: int) -> str | None:
        """Judge by its beats."""
        return late_beat(self._beat_ns, now_ns)

    def last_sign_ns(self) -> int | None:
        """When it last said that its loop turns."""
        return self._beat_ns or None

    def aboard(self) -> tuple[Aboard, ...]:
        """Requests are aboard of engines."""
        return ()

    def facts(self) -> dict[str, Any]:
        """Its last beat, and of a gateway the counts over all incarnations."""
        facts: dict[str, Any] = {"loop_lag_ms": round(self._beat.loop_lag_ms, 3), "facts": dict(self._beat.facts)}
        if self._tally is not None:
            facts |= {"open_requests": self.open_requests, "counters": self._totals.plus(self._counts())}
        return facts

    def _counts(self) -> dict[str, int]:
        return {} if self._tally is None else self._tally.read()

    def _line(self, stream: Stream, line: str) -> None:
        if stream is Stream.ERRORS:
            self._last_error = error_in(line) or self._last_error
        self._on_line(stream, line)

    def _exited(self, status: int) -> None:
        served = self._tally is None or self._counts().get("arrivals", 0) > 0
        self._signs.ended(Ended(status=status, last_error=self._last_error, served=served))

    def close(self) -> None:
        """Keep its counts, with what it held open booked as its failure."""
        settled = settle(self._counts())
        if self._series is not None:
            self._series.close(rest_of(settled))
        if self._tally is not None and self._tally_file is not None:
            self._totals.keep(settled)
            self._tally.close()
            self._tally = None
            self._tally_file.unlink(missing_ok=True)
