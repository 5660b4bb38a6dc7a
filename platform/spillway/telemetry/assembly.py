"""The traces of one process, put together from settings and environment: store, collector, thread.

::

    telemetry = open_traces(state.path, environ, log, process="gateway-0", ...)
    telemetry.tracing.begin(...)            for every request
    telemetry.close()                       at the end
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from spillway.settings import TelemetrySettings
from spillway.telemetry.export.variables import export_settings, resource_attributes
from spillway.telemetry.pipeline import Pipeline, Sink
from spillway.telemetry.trace_store.schema import FILE_NAME
from spillway.telemetry.trace_store.writer import MAX_AGE_S, MAX_TRACES, StoreWriter
from spillway.telemetry.tracing.sampling import NothingKept, Sampler, ratio_of
from spillway.telemetry.tracing.shared import Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceOptions:
    """What the settings say of traces."""

    enabled: bool = True
    """False: none is kept."""
    ratio: float = 1.0
    """Of what nothing else keeps."""
    max_traces: int = MAX_TRACES
    max_age_s: float = MAX_AGE_S
    content: tuple[str, ...] = ()
    """Tenants whose prompts and answers are part of them; `*`: of all."""
    baggage_keys: tuple[str, ...] = ()
    """Entries of the caller's baggage that become attributes."""


def trace_options(settings: TelemetrySettings) -> TraceOptions:
    """Return what the settings say of traces."""
    return TraceOptions(
        enabled=settings.enabled,
        ratio=settings.trace_ratio,
        max_traces=settings.max_traces,
        max_age_s=settings.max_age_s,
        content=settings.content,
        baggage_keys=settings.baggage_keys,
    )


class Traces:
    """A process's traces: `tracing` for its requests, `offer` for what else becomes one."""

    def __init__(self, tracing: Tracing, pipeline: Pipeline, options: TraceOptions) -> None:
        self.tracing, self.pipeline, self.options = tracing, pipeline, options

    def facts(self) -> Mapping[str, float]:
        """Return counts by stable names."""
        return {**self.tracing.facts(), **self.pipeline.facts()}

    def close(self, patience_s: float = 2.0) -> None:
        """Write and send what is left, for at most so long. Idempotent; it waits: not for an event loop."""
        self.pipeline.close(patience_s)


def sinks(
    state: Path, environment: Mapping[str, str], log: Callable[..., None], *, process: str, options: TraceOptions
) -> list[Sink]:
    """Return the store, and the collector if the environment names one. Raises `ExportError`."""
    found: list[Sink] = [
        StoreWriter(state / FILE_NAME, log=log, max_traces=options.max_traces, max_age_s=options.max_age_s)
    ]
    settings = export_settings(environment)
    if settings is not None:
        # imported where there is a collector: it is half a second, and thirty megabytes
        from spillway.telemetry.export.convert import resource_of, scope_of  # noqa: PLC0415
        from spillway.telemetry.export.exporter import TraceExporter, hear_sdk, otlp_exporter  # noqa: PLC0415

        hear_sdk(log)
        own_version = _version()
        about = resource_attributes(environment, instance=process, version=own_version)
        found.append(
            TraceExporter(
                otlp_exporter(settings),
                settings,
                resource=resource_of(about),
                scope=scope_of(own_version),
                log=log,
            )
        )
        log("trace_export", protocol=str(settings.protocol))
    return found


def open_traces(
    state: Path,
    environment: Mapping[str, str],
    log: Callable[..., None],
    *,
    process: str,
    options: TraceOptions,
    more: Iterable[Sink] = (),
) -> Traces:
    """Begin. Raises ValueError if a variable is wrong, which says which."""
    sampler = Sampler(ratio_of(environment, options.ratio)) if options.enabled else NothingKept()
    pipeline = Pipeline([*sinks(state, environment, log, process=process, options=options), *more], log=log)
    tracing = Tracing(
        pipeline.offer,
        sampler=sampler,
        gateway=process,
        baggage_keys=options.baggage_keys,
        content=options.content,
    )
    pipeline.start()
    return Traces(tracing, pipeline, options)


def _version() -> str:
    try:
        return version("spillway")
    except PackageNotFoundError:  # run from a checkout
        return ""
