"""Whether a client's stopwatch, the metrics and the traces tell the same: `python -m spillway.bench truth`.

::

    traffic.py      the requests, each with a trace id of its client's, and what the client saw of each
    campaign.py     sends them, kills engines meanwhile, scrapes twice a second
    recorded.py     the traces of these requests, as the trace store has them
    judgement.py    compares the three; pure
    command.py      the command, its tables and its exit status
"""

from spillway.bench.truth.command import main

__all__ = ["main"]
