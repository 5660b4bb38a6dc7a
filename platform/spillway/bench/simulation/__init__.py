"""Admission in virtual time: the real door, line, limit and fit of pace, before engines and clients on paper.

==============  ====================================================================================================
`engine`        slots, blocks, and steps that take as long as a line says
`traffic`       arrivals, lengths, and clients that obey or do not
`gateway`       the parts of admission, put together as in a gateway
`world`         the heap of events
`scenarios`     what is played, for tests and plots
`figures`       what a run comes to
`plots`         SVG; `gallery` says which
==============  ====================================================================================================

`python -m spillway.bench.simulation` prints a table, `--plots docs/plots` draws.
"""

from spillway.bench.simulation.command import main

__all__ = ["main"]
