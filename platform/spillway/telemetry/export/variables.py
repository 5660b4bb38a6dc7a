"""What the standard `OTEL_*` variables say of exporting.

An endpoint's details (headers, certificates, compression, timeouts) are read by the SDK's exporters themselves.

Without an endpoint nothing is exported: the traces are in the store.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

_MAX_BATCH = 512
_DELAY_S = 1.0
"""The specification's default is five seconds; a console and its collector should not be that far apart."""
_CAPACITY = 16_384
"""Spans that wait for the collector: the specification's default of 2,048 is two seconds of a busy gateway."""


class ExportError(ValueError):
    """A variable is wrong; the message says which, what was given and what is allowed."""


class Protocol(StrEnum):
    """How to speak with the collector."""

    GRPC = "grpc"
    HTTP = "http/protobuf"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSettings:
    """Where and how traces are exported."""

    protocol: Protocol
    capacity: int = _CAPACITY
    """Spans that wait; what comes beyond is dropped."""
    max_batch: int = _MAX_BATCH
    delay_s: float = _DELAY_S


def export_settings(environment: Mapping[str, str]) -> ExportSettings | None:
    """Return what the variables ask for, None if nothing is to be exported. Raises `ExportError`."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    exporters = [name.strip() for name in environment.get("OTEL_TRACES_EXPORTER", "otlp").split(",") if name.strip()]
    strange = [name for name in exporters if name not in {"otlp", "none"}]
    if strange:
        raise ExportError(f"OTEL_TRACES_EXPORTER is {','.join(exporters)!r}; give otlp or none")
    endpoint = _first(environment, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if "otlp" not in exporters or not endpoint:
        return None
    said = _first(environment, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    try:
        protocol = Protocol(said)
    except ValueError:
        raise ExportError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {said!r}; give grpc or http/protobuf") from None
    capacity = _number(environment, "OTEL_BSP_MAX_QUEUE_SIZE", _CAPACITY)
    return ExportSettings(
        protocol=protocol,
        capacity=capacity,
        max_batch=min(capacity, _number(environment, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", _MAX_BATCH)),
        delay_s=_number(environment, "OTEL_BSP_SCHEDULE_DELAY", int(_DELAY_S * 1000)) / 1000,
    )


def resource_attributes(environment: Mapping[str, str], *, instance: str, version: str) -> dict[str, str]:
    """Return who sends: ours, then `OTEL_RESOURCE_ATTRIBUTES`, then `OTEL_SERVICE_NAME`."""
    found = {
        "service.name": "spillway",
        "service.version": version,
        "service.instance.id": instance,
        "host.name": socket.gethostname(),
    }
    for pair in environment.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        key, equals, value = pair.partition("=")
        if equals and key.strip():
            found[key.strip()] = unquote(value.strip())
    name = environment.get("OTEL_SERVICE_NAME", "").strip()
    return found | {"service.name": name} if name else found


def _first(environment: Mapping[str, str], *keys: str) -> str:
    return next((said for key in keys if (said := environment.get(key, "").strip())), "")


def _number(environment: Mapping[str, str], key: str, default: int) -> int:
    said = environment.get(key, "").strip()
    if not said:
        return default
    if not said.isdigit() or int(said) < 1:
        raise ExportError(f"{key} is {said!r}; give a whole number from 1")
    return int(said)
