"""The way to the collector: a thread of its own and a bounded queue, so that nobody ever waits for it.

A collector that is down or slow holds up this thread alone; once the queue is full, spans are dropped and counted, the
newest first. The SDK's own words on it go to the operator's log, rarely.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from spillway.telemetry.export import variables
from spillway.telemetry.export.convert import readable
from spillway.telemetry.export.variables import ExportSettings
from spillway.telemetry.tracing.span import Span
from spillway.telemetry.tracing.trace import Trace
from spillway_wire.oplog import RateLimited

_SLICE: Final = 16
"""Spans converted at a time, before others may run."""


class Exporting(Protocol):
    """What is used of an SDK's exporter."""

    def export(self, spans: Sequence[ReadableSpan], /) -> SpanExportResult:
        """Send, and wait for the answer."""

    def shutdown(self) -> None:
        """Give up what is being tried."""


class TraceExporter:
    """A sink of the telemetry thread."""

    def __init__(
        self,
        exporter: Exporting,
        settings: ExportSettings,
        *,
        resource: Resource,
        scope: InstrumentationScope,
        log: Callable[..., None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to work at once."""
        self._exporter, self._settings, self._log, self._clock = exporter, settings, log, clock
        self._resource, self._scope = resource, scope
        self._waiting: deque[Span] = deque()
        self._wake = threading.Event()
        self._ending = False
        self._failing = False
        self._being_sent = 0
        self.num_exported = self.num_failed = self.num_dropped = 0
        self._thread = threading.Thread(target=self._run, name="trace export", daemon=True)
        self._thread.start()

    def write(self, traces: Sequence[Trace]) -> None:
        """Queue their spans, as far as there is room for all of a trace's."""
        for trace in traces:
            if self.num_waiting + len(trace.spans) > self._settings.capacity:
                self.num_dropped += len(trace.spans)
            else:
                self._waiting.extend(trace.spans)
        if len(self._waiting) >= self._settings.max_batch:
            self._wake.set()

    @property
    def num_waiting(self) -> int:
        """Spans that wait, or are being sent."""
        return len(self._waiting) + self._being_sent

    def facts(self) -> Mapping[str, float]:
        """Return counts by stable names."""
        return {
            "spans_exported": self.num_exported,
            "spans_export_failed": self.num_failed,
            "spans_dropped": self.num_dropped,
            "spans_waiting": self.num_waiting,
        }

    def close(self, patience_s: float) -> None:
        """Send what waits, for at most so long; what is left then is dropped, and counted. Idempotent."""
        self._ending = True
        self._wake.set()
        self._thread.join(patience_s)
        self.num_dropped += len(self._waiting)
        self._waiting.clear()
        self._exporter.shutdown()

    # ---- in the thread ----

    def _run(self) -> None:
        while True:
            self._wake.wait(self._settings.delay_s)
            self._wake.clear()
            ending = self._ending
            while self._waiting:
                self._send()
            if ending:
                return

    def _send(self) -> None:
        spans: list[Span] = []
        while self._waiting and len(spans) < self._settings.max_batch:
            self._being_sent += 1
            spans.append(self._waiting.popleft())
        why = ""
        try:
            done = self._exporter.export(self._converted(spans)) is SpanExportResult.SUCCESS
        except Exception as error:  # noqa: BLE001 - whatever it is, the next batch is tried
            done, why = False, f"{type(error).__name__}: {error}"
        self._being_sent = 0
        if done:
            self.num_exported += len(spans)
            if self._failing:
                self._failing = False
                self._log("trace_export_works_again", failed=self.num_failed, dropped=self.num_dropped)
            return
        self.num_failed += len(spans)
        if not self._failing:
            self._failing = True
            self._log("trace_export_fails", spans=len(spans), error=why or "the collector did not take them")

    def _converted(self, spans: Sequence[Span]) -> list[ReadableSpan]:
        found: list[ReadableSpan] = []
        for span in spans:
            found.append(readable(span, self._resource, self._scope))
            if len(found) % _SLICE == 0:
                time.sleep(0)  # the loop that serves goes first
        return found


def otlp_exporter(settings: ExportSettings) -> SpanExporter:
    """Return the SDK's exporter, which reads the rest of the variables. Imports it: half a second, once."""
    if settings.protocol is variables.Protocol.GRPC:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc  # noqa: PLC0415

        return Grpc()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http  # noqa: PLC0415

    return Http()


class _Words(logging.Handler):
    """What the SDK logs, as events, at most one a second."""

    def __init__(self, log: Callable[..., None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = RateLimited(log, "opentelemetry", time.monotonic_ns)

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(level=record.levelname.lower(), message=record.getMessage()[:500])


def hear_sdk(log: Callable[..., None]) -> None:
    """Have what the SDK says become events, instead of lines that nobody can read by machine."""
    logger = logging.getLogger("opentelemetry")
    logger.handlers = [_Words(log)]
    logger.propagate = False
