"""Dashboards as code: what operators look at, made into Grafana's JSON and held against the catalogue of metrics.

::

    promql      queries from metrics: a name or a label that does not exist cannot be written
    model       a board as data: rows, panels, queries, thresholds
    boards      the boards
    grafana     a board as Grafana's JSON, by Grafana's own types
    lint        the rules that boards keep, those of Grafana's dashboard linter among them
    signals     the table of all metrics in docs/operating.md
    render      the command that writes all this
"""
