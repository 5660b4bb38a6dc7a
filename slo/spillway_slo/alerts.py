"""When an alert begins and ends, and how receivers are told: in the form of Alertmanager's webhooks, version 4.

::

    inactive ── it burns ──▶ firing ── it does not burn any more ──▶ inactive, told as resolved

There is no pending state: the long window is what makes an alert patient.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from spillway_slo.evaluate import Standing
from spillway_slo.rules import burn_annotations, burn_labels, warning_annotations, warning_labels

FIRING: Final = "firing"
RESOLVED: Final = "resolved"
INACTIVE: Final = "inactive"
REMEMBERED: Final = 1000
"""Past alerts that are kept for reports."""
_NEVER: Final = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertState:
    """An alert that fires, or did."""

    name: str
    objective: str
    severity: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    since: float
    """Unix time."""
    until: float | None = None
    """When it ended; None: it has not."""

    @property
    def status(self) -> str:
        """As Alertmanager says it."""
        return FIRING if self.until is None else RESOLVED


class AlertBook:
    """Which alerts fire, and which did."""

    def __init__(self, firing: Iterable[AlertState] = (), past: Iterable[AlertState] = ()) -> None:
        self.firing = {alert.name: alert for alert in firing}
        self.past: deque[AlertState] = deque(past, maxlen=REMEMBERED)

    def update(self, standings: Iterable[Standing], now: float) -> list[AlertState]:
        """Take in how objectives stand; return what began or ended just now. What is not there any more has ended."""
        changed: list[AlertState] = []
        burning: set[str] = set()
        for standing in standings:
            for name, burns in standing.burning.items():
                if burns:
                    burning.add(name)
                    if name not in self.firing:
                        self.firing[name] = _begun(standing, name, now)
                        changed.append(self.firing[name])
        for name in self.firing.keys() - burning:
            ended = _ended(self.firing.pop(name), now)
            self.past.append(ended)
            changed.append(ended)
        return changed


def _begun(standing: Standing, name: str, now: float) -> AlertState:
    objective = standing.objective
    row = next((window for window in objective.policies if objective.alert_name(window) == name), None)
    labels = warning_labels(objective) if row is None else burn_labels(objective, row)
    return AlertState(
        name=name,
        objective=objective.name,
        severity=labels["severity"],
        labels={"alertname": name} | labels,
        annotations=warning_annotations(objective) if row is None else burn_annotations(objective, row),
        since=now,
    )


def _ended(alert: AlertState, now: float) -> AlertState:
    return replace(alert, until=now)


# ---- for receivers ----


def notifications(changed: Iterable[AlertState], *, receiver: str, external_url: str) -> list[dict[str, Any]]:
    """Return the bodies of webhooks: one for each objective, with all that changed of it."""
    by_objective: dict[str, list[AlertState]] = {}
    for alert in changed:
        by_objective.setdefault(alert.objective, []).append(alert)
    return [
        _notification(objective, alerts, receiver=receiver, external_url=external_url)
        for objective, alerts in by_objective.items()
    ]


def _notification(objective: str, alerts: list[AlertState], *, receiver: str, external_url: str) -> dict[str, Any]:
    group = {"sloth_slo": objective}
    return {
        "version": "4",
        "groupKey": f'{{}}:{{sloth_slo="{objective}"}}',
        "truncatedAlerts": 0,
        "status": FIRING if any(alert.status == FIRING for alert in alerts) else RESOLVED,
        "receiver": receiver,
        "groupLabels": group,
        "commonLabels": _common([alert.labels for alert in alerts]),
        "commonAnnotations": _common([alert.annotations for alert in alerts]),
        "externalURL": external_url,
        "alerts": [_told(alert, external_url) for alert in alerts],
    }


def _told(alert: AlertState, external_url: str) -> dict[str, Any]:
    return {
        "status": alert.status,
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": rfc3339(alert.since),
        "endsAt": _NEVER if alert.until is None else rfc3339(alert.until),
        "generatorURL": f"{external_url}/slo",
        "fingerprint": fingerprint(alert.labels),
    }


def _common(all_of_them: list[Mapping[str, str]]) -> dict[str, str]:
    first, *others = all_of_them
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def fingerprint(labels: Mapping[str, str]) -> str:
    """Return 16 hexadecimal digits that are the same for the same labels."""
    said = "\xff".join(f"{name}\xff{labels[name]}" for name in sorted(labels))
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


def rfc3339(time: float) -> str:
    """Write a unix time as Alertmanager does."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
