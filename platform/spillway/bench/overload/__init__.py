"""Goodput under overload: an open-loop load generator, and what it finds of the platform and of a peer.

====================  ==============================================================================================
`schedule`            when requests come
`work`                what is asked, and what a right answer is
`plan`                what a generator is told, and what it tells
`generator`           its process: `callers` (connections), `shooting` (when and how often), `reading` (what came)
`firing`              generator processes, from the bench's side
`judging`, `levels`   what each try was worth; the figures of a run
`settling`            how long after a step goodput is what it stays
`capacity`            the search for the highest rate that is good
`targets`, `peer`     the platform, and vLLM's server; `configuration` is the file that is written for the platform
`measuring`           one target under load
`drills`              priorities, fairness, retries, bursts
`aims`, `promises`    what must hold, with the aim beside the figure
`suite`, `command`    a whole run, and its command line
====================  ==============================================================================================
"""

from spillway.bench.overload.command import main

__all__ = ["main"]
