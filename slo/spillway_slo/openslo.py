"""OpenSLO v1 documents as they are written: their fields, and nothing else is taken.

Source: the specification of OpenSLO, version 1. What it has no words for stands in annotations that begin with
`spillway.dev/`; they are listed in `EXTENSIONS`.
"""

from typing import Any, Final

import msgspec

PREFIX: Final = "spillway.dev/"
EXTENSIONS: Final = {
    "tier": "SLO: judges requests of this tier; failures of requests whose tier nobody knows are charged to every tier",
    "kinds": "SLO: one objective more for each of these kinds of call (chat, completions, generate, batch)",
    "kinds-reported": "SLO: likewise, without alerts of burn rates; kinds of latency are chat and text",
    "expected-requests-per-hour": "SLO: traffic that lint assumes when it asks whether one failed request would alert",
    "min-failures": "SLO: fewer bad events than this in the long window never alert",
    "accept.": "SLO: followed by the name of a finding of lint; the value is the reason why it is meant",
    "short-window": "AlertCondition: the second, shorter window that must burn, too (OpenSLO has no such condition)",
}


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Fields that the specification does not have are refused."""


class Metadata(_Strict, frozen=True, kw_only=True):
    """Of every document."""

    name: str
    display_name: str = ""
    labels: dict[str, str | list[str]] = {}
    annotations: dict[str, str] = {}


class SourceSpec(_Strict, frozen=True, kw_only=True):
    """Ours: what a metric source names."""

    metric: str
    """Of the catalogue, without a suffix."""
    labels: dict[str, str | list[str]] = {}
    meanwhile: "SourceSpec | None" = None
    """Of a threshold by time slices: only slices in which this happened are held against it."""


class MetricSource(_Strict, frozen=True, kw_only=True):
    """Where numbers come from."""

    spec: SourceSpec
    metric_source_ref: str | None = None
    type: str = "Spillway"


class Metric(_Strict, frozen=True, kw_only=True):
    """One query."""

    metric_source: MetricSource


class RatioMetric(_Strict, frozen=True, kw_only=True):
    """Good, or bad, by total."""

    total: Metric
    good: Metric | None = None
    bad: Metric | None = None
    counter: bool = True


class IndicatorSpec(_Strict, frozen=True, kw_only=True):
    """An SLI: exactly one of the two."""

    description: str = ""
    ratio_metric: RatioMetric | None = None
    threshold_metric: Metric | None = None


class TimeWindow(_Strict, frozen=True, kw_only=True):
    """The period."""

    duration: str
    is_rolling: bool = False
    calendar: dict[str, Any] | None = None


class ObjectiveSpec(_Strict, frozen=True, kw_only=True):
    """What is promised of the indicator."""

    display_name: str = ""
    op: str | None = None
    value: float | None = None
    target: float | None = None
    target_percent: float | None = None
    time_slice_target: float | None = None
    time_slice_window: str | None = None


class PolicyRef(_Strict, frozen=True, kw_only=True):
    """Names an AlertPolicy."""

    alert_policy_ref: str


class SloSpec(_Strict, frozen=True, kw_only=True):
    """An SLO."""

    service: str
    indicator_ref: str
    budgeting_method: str
    time_window: list[TimeWindow]
    objectives: list[ObjectiveSpec]
    alert_policies: list[PolicyRef] = []
    description: str = ""


class BurnRate(_Strict, frozen=True, kw_only=True):
    """The condition itself."""

    kind: str
    op: str
    threshold: float
    lookback_window: str
    alert_after: str | None = None


class ConditionSpec(_Strict, frozen=True, kw_only=True):
    """An AlertCondition."""

    severity: str
    condition: BurnRate
    description: str = ""


class ConditionRef(_Strict, frozen=True, kw_only=True):
    """Names an AlertCondition."""

    condition_ref: str


class PolicySpec(_Strict, frozen=True, kw_only=True):
    """An AlertPolicy."""

    conditions: list[ConditionRef]
    description: str = ""
    alert_when_no_data: bool = False
    alert_when_resolved: bool = False
    alert_when_breaching: bool = False
    notification_targets: list[dict[str, Any]] = []


class AnySpec(msgspec.Struct, frozen=True):
    """Of kinds that are carried along and not used: Service, DataSource, AlertNotificationTarget."""


SPECS: Final[dict[str, type[msgspec.Struct]]] = {
    "SLO": SloSpec,
    "SLI": IndicatorSpec,
    "AlertPolicy": PolicySpec,
    "AlertCondition": ConditionSpec,
    "Service": AnySpec,
    "DataSource": AnySpec,
    "AlertNotificationTarget": AnySpec,
}


class Document(_Strict, frozen=True, kw_only=True):
    """One document, its spec not yet read."""

    api_version: str
    kind: str
    metadata: Metadata
    spec: Any = None
