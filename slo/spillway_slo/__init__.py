"""Objectives: what the platform promises, whether it holds, and who is told when it does not.

One file says it (OpenSLO v1, `../objectives`), and everything else is made of that:

==============  ====================================================================================================
`openslo`       the documents, as they are written
`loading`       files → objectives; `building`, `policies` and `narrowing` are its parts
`objective`     an objective, ready to be judged
`windows`       the windows of burn rates, and their scale
`burn`          the arithmetic, shared by all that follows
`lint`          what is wrong with an objective that is well-formed
`promql`        an objective in Prometheus' language
`rules`         its recording rules and alerts (`../rules`), `promtests` their tests (`../promtests`)
`collect`       series of any process → columns of sums, `history` their past, `evaluate` what objectives make of it
`alerts`        when one begins and ends, and how receivers are told
`ledger`        what the budget was spent on, hour by hour
`report`        the report for a period; `page` shows it
==============  ====================================================================================================
"""
