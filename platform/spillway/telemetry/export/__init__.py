"""Traces to a collector, by OTLP over gRPC or HTTP, as the standard `OTEL_*` variables say."""
