"""What a gateway process shows of itself: metrics in its shared page, and traces."""

import os
from collections.abc import Callable, Mapping

from spillway.child import Child
from spillway.gateway.quotas import Quotas
from spillway.pool.contract import Pool
from spillway.settings import Settings
from spillway.state import StateFolder
from spillway.telemetry.assembly import open_traces, trace_options
from spillway.telemetry.metrics.gateway import GatewayMetrics
from spillway.telemetry.metrics.page import open_page
from spillway.telemetry.metrics.requests import Price, RequestMetrics
from spillway_wire import names
from spillway_wire.label_book import LabelBook


class Signals:
    """Of one process. `close` it last: it blocks for a moment, until traces are written."""

    def __init__(self, settings: Settings, child: Child, *, log: Callable[..., None]) -> None:
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
        self.state = GatewayMetrics(self._page)
        self._traces = open_traces(
            StateFolder.of(settings.state_dir, os.environ).path,
            os.environ,
            log,
            process=child.child_id,
            options=trace_options(telemetry),
        )
        self.tracing = self._traces.tracing
        self._spans = {
            name: self._page.counters(names.DROPPED_SPANS).of(name)
            for name in ("traces_dropped", "traces_store_lost", "spans_dropped", "spans_export_failed")
        }
        self._told = dict.fromkeys(self._spans, 0.0)

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
            total = facts.get(name, 0.0)
            if total > self._told[name]:
                counter.add(int(total - self._told[name]))
                self._told[name] = total

    def facts(self) -> Mapping[str, float]:
        """Return gauges by stable names."""
        return self._traces.facts()

    def close(self) -> None:
        """Write what is left of traces, and let go of the page. Idempotent."""
        self._traces.close()
        self._page.close()
