"""What a gateway says of itself twice a second: its queue by band, brownout, pressure, its loop, its ledger."""

from collections.abc import Mapping
from typing import Final

from spillway.admission.contract import Band
from spillway_wire import names
from spillway_wire.metric import Metric
from spillway_wire.series import SeriesPage

_OF_MODELS: Final[Mapping[str, Metric]] = {
    "brownout_level": names.BROWNOUT_LEVEL,
    "pressure": names.LOAD_PRESSURE,
    "shedding_threshold": names.SHEDDING_THRESHOLD,
    "retry_budget": names.RETRY_BUDGET,
}
"""Of what admission says of a model, that which is a metric."""
_FACTOR: Final = "prediction_factor_"


class GatewayMetrics:
    """Of one gateway."""

    def __init__(self, page: SeriesPage) -> None:
        self._queued = page.gauges(names.QUEUED_REQUESTS)
        self._in_flight = page.gauges(names.IN_FLIGHT).of()
        self._of_models = {name: page.gauges(metric) for name, metric in _OF_MODELS.items()}
        self._factors = page.gauges(names.PREDICTION_FACTOR)
        self._lag = page.histograms(names.LOOP_LAG).of()
        self._redis = page.histograms(names.REDIS_ROUND_TRIP).of()
        self._redis_failures = page.counters(names.REDIS_FAILURES).of()
        self._degraded = page.gauges(names.LIMITER_DEGRADED).of()

    def in_flight(self, num_requests: int) -> None:
        """Say how many requests are queued or running."""
        self._in_flight.set(num_requests)

    def queue(self, model: str, waiting: Mapping[Band, int]) -> None:
        """Say how many requests of a model wait, by band; what is not named has none."""
        for band in Band:
            self._queued.of(model, band.label).set(waiting.get(band, 0))

    def admission(self, facts: Mapping[str, float]) -> None:
        """Take what `Admission.facts` says: names with their model behind the first dot; others are left out."""
        for key, value in facts.items():
            name, dot, model = key.partition(".")
            if not dot:
                continue
            gauges = self._of_models.get(name)
            if gauges is not None:
                gauges.of(model).set(value)
            elif name.startswith(_FACTOR):
                self._factors.of(model, name.removeprefix(_FACTOR)).set(value)

    def lagged(self, seconds: float) -> None:
        """Note how late the event loop was."""
        self._lag.observe(seconds)

    def asked_redis(self, seconds: float, *, answered: bool) -> None:
        """Note a question to Redis, how long it took, and whether there was an answer."""
        self._redis.observe(seconds)
        if not answered:
            self._redis_failures.add()

    def limiter(self, *, degraded: bool) -> None:
        """Say whether quotas are decided without Redis."""
        self._degraded.set(degraded)
