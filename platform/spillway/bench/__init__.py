"""Figures and drills of the whole platform: what a gateway costs, and what is left of promises when engines die.

::

    python -m spillway.bench gateway      requests, tokens and added latency of one gateway process on one core
    python -m spillway.bench generate     /generate end to end, one fresh connection each
    python -m spillway.bench kills        engines killed while streams count: exactness, pauses, detection
    python -m spillway.bench overload     goodput when more is asked than can be done, and what admission promises
    python -m spillway.bench mixed        requests of all kinds, a tenth of them leaving: leaks, and one outcome each
    python -m spillway.bench truth        clients' stopwatches, metrics and traces of the same requests, compared
    python -m spillway.bench recovered    the traces of requests whose engine died, and counters over deaths
    python -m spillway.bench telemetry    what telemetry costs a request

`spillway bench …` is the same. Each prints tables, can write JSON (`--out`), and ends with status 1 where a promise
was broken.
"""
