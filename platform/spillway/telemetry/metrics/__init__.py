"""Metrics: what gateways count, what ops makes of all pages, and in which form Prometheus gets it."""
