"""Drills: break something of a running Spillway on purpose, under load, and judge whether its promises held.

==============  ====================================================================================================
`experiment`    a drill's file, as Chaos Toolkit has it; `drill`: what we add to it, and what must be said
`stage`         what a drill plays on: a Spillway of its own, its load, its links, its observers
`faults`        actions: one file for each kind of thing that is broken
`probes`        proofs that a fault took hold, and steady state
`phases`        the states of a run, as a table; `runner` walks through it
`deadman`       undoes faults when the runner itself dies
`judging`       evidence → findings; pure
`journal`       what is kept of a run; `timeline`: what happened when
`pages`         what people read of it
`scorecard`     all drills together; `loop`: the same again and again
`gameday`       a drill with a hypothesis first and a review after
`pipeline`      build, tests, load and drills
==============  ====================================================================================================

It knows Spillway from outside: its command line, HTTP, signals and /proc, as an operator does.
"""
