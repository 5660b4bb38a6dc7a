"""What a gateway process shows of itself: metrics in its shared page, and traces."""

import os
from collections.abc import Mapping
from typing import Final

from spillway.child import Child
from spillway.gateway.quotas import Quotas
from spillway.pool.contract import Pool
from spillway.settings import Settings
from spillway.state import StateFolder
from spillway.telemetry.assembly import open_traces, trace_options
from spillway.telemetry.logs import EventLog
from spillway.telemetry.metrics.expected import begin_series
from spillway.telemetry.metrics.gateway import GatewayMetrics
from spillway.telemetry.metrics.page import open_page
from spillway.telemetry.metrics.requests import Price, RequestMetrics
from spillway_wire import names
from spillway_wire.label_book import LabelBook
from spillway_wire.links import FRAMES_LOST, FRAMES_MALFORMED
from spillway_wire.messages import StepOutput
from spillway_wire.series import Counter

_DROPPED_SPANS: Final = (
    *("traces_dropped", "traces_failed", "traces_store_lost"),
    *("spans_dropped", "spans_export_failed"),
)
"""Facts of the traces that count what was lost."""


def _nothing(engine_id: str, incarnation: int, output: StepOutput) -> None:
    """Do nothing: no trace is kept that could tell of a step."""


class Followed:
    """A counter that follows a total which somebody else keeps."""

    __slots__ = ("_counter", "_told")

    def __init__(self, counter: Counter) -> None:
        self._counter, self._told = counter, 0.0

    def follow(self, total: float) -> None:
        """Count by how much the total has grown."""
        if total > self._told:
            self._counter.add(total - self._told)
            self._told = total


class Signals:
    """Of one process. `close` it last: it blocks for a moment, until traces are written."""

    def __init__(self, settings: Settings, child: Child, *, log: EventLog) -> None:
        """Raises ValueError if a variable of OpenTelemetry's is wrong."""
        telemetry = settings.telemetry
        self._page = open_page(child.runtime, child.child_id, child.incarnation, log)
        tenants = LabelBook(child.runtime.tenant_labels, most=names.MAX_TENANTS, other=names.OTHER)
        price = Price(
            input=telemetry.price_input,
            cached=telemetry.price_cached,
            output=telemetry.price_output,
            currency=telemetry.currency,
        )
        self.requests = RequestMetrics(self._page, tenants, price=price)
        self.requests.judged.expect(settings.tiers)
        begin_series(self._page, models=(model.name for model in settings.models), tiers=settings.tiers)
        self.state = GatewayMetrics(self._page)
        self._traces = open_traces(
            StateFolder.of(settings.state_dir, os.environ).path,
            os.environ,
            log,
            process=child.child_id,
            options=trace_options(telemetry),
        )
        self.tracing = self._traces.tracing
        self.on_step = self.tracing.note_step if telemetry.enabled else _nothing
        """Hears of every frame of an engine."""
        dropped = self._page.counters(names.DROPPED_SPANS)
        self._spans = {name: Followed(dropped.of(name)) for name in _DROPPED_SPANS}
        self._spans["spans_exported"] = Followed(self._page.counters(names.EXPORTED_SPANS).of())
        self._log, lines = log, self._page.counters(names.DROPPED_LOGS)
        self._lines = (Followed(lines.of("no_room")), Followed(lines.of("unwritten")))
        frames = self._page.counters(names.DROPPED_FRAMES)
        self._frames = {reason: frames.of(reason) for reason in (FRAMES_LOST, FRAMES_MALFORMED)}

    def beat(self, pool: Pool, models: tuple[str, ...], admission: Mapping[str, float], quotas: Quotas) -> None:
        """Say what is so now."""
        self.state.in_flight(pool.num_open)
        self.state.admission(admission)
        for model in models:
            load = pool.load(model)
            if load is not None:
                waiting = {band: sum(each.requests for each in who.values()) for band, who in load.waiting.items()}
                self.state.queue(model, waiting)
        self.state.limiter(degraded=quotas.ledger.facts()["ledger_away_s"] > 0)
        facts = self._traces.facts()
        for name, counter in self._spans.items():
            counter.follow(facts.get(name, 0.0))
        for counter, total in zip(self._lines, (self._log.num_dropped, self._log.num_unwritten), strict=True):
            counter.follow(total)

    def dropped_frames(self, reason: str, number: int) -> None:
        """Count frames of engines that did not arrive whole."""
        self._frames[reason].add(number)

    def facts(self) -> Mapping[str, float]:
        """Return gauges by stable names."""
        return self._traces.facts()

    def close(self) -> None:
        """Write what is left of traces, and let go of the page. Idempotent."""
        self._traces.close()
        self._page.close()
