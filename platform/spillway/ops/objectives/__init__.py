"""Objectives as ops keeps them: judged at every tick from its own merged series, with no Prometheus.

==============  ====================================================================================================
`choosing`      which objectives the settings mean
`samples`       pages of all processes → what objectives look at
`keeper`        the loop: read, judge, tell, remember
`brownout`      a floor under brownout while objectives burn, if that is wanted
`families`      how they stand, as metrics
`webhooks`      telling receivers, who may be dead
`routes`        `GET /slo`
==============  ====================================================================================================

What an objective is, and all arithmetic, is in `spillway_slo`.
"""
