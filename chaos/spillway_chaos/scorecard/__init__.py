"""The resilience scorecard: journals → points, gaps, levels. Arithmetic that an operator can redo; nothing is learnt.

==============  ====================================================================================================
`settings`      `loop.toml`: weights, credit, expiry, cadence, delivery, plan
`credit`        a drill's runs → its standing and its points
`catalogue`     the faults that there are
`card`          all of it together, and the change against the last one
`gaps`          what costs most points, what to do, and which drill will verify it
`levels`        maturity from evidence, and the way to the next two
`page`          as HTML
==============  ====================================================================================================
"""
