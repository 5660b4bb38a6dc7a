"""Metrics that ops makes of objectives. Prometheus' rules record the same under Sloth's names, which have colons."""

from typing import Final

from spillway_wire.metric import Metric, counter, gauge

TARGET: Final = gauge("spillway_slo_target_ratio", "The share that is promised.", "slo", "tier", "kind", unit="ratio")
BURN_RATE: Final = gauge(
    "spillway_slo_burn_rate", "How fast the error budget burns: 1 spends it in its period.", "slo", "window"
)
BUDGET_LEFT: Final = gauge(
    "spillway_slo_error_budget_remaining_ratio",
    "Of the period's error budget, what is left; below 0 it is overspent.",
    "slo",
    unit="ratio",
)
PERCENTILE: Final = gauge(
    "spillway_slo_percentile_seconds", "The percentile that an objective limits.", "slo", unit="seconds"
)
ALERT_FIRING: Final = gauge("spillway_slo_alert_firing", "1 while an alert fires.", "slo", "alert", "severity")
NOTIFICATIONS: Final = counter(
    "spillway_slo_notifications", "Notifications to webhooks: sent, failed after all tries, or dropped.", "end"
)
EVALUATION_TIME: Final = gauge(
    "spillway_slo_evaluated_timestamp_seconds", "When objectives were last evaluated.", unit="seconds"
)

SLO_METRICS: Final[tuple[Metric, ...]] = (
    *(TARGET, BURN_RATE, BUDGET_LEFT, PERCENTILE, ALERT_FIRING, NOTIFICATIONS, EVALUATION_TIME),
)
