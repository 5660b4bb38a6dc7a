"""Load: who asks what and when, what came of it, and whether that was good enough.

::

    campaign   shapes   arrivals   traces   prompts   plan      what will be asked: pure, decided before the first byte
    http_stream   asking   shooting   worker                    asking it: greenlets, sockets, the clock
    record   series   intervals   summary   result   verdict    what came of it: pure
    workers   running   saturation   command   progress   report    a campaign from its file to its report
    users   locust_series                                       the same requests as Locust's users

A campaign is an open loop: requests are sent when they are due by a schedule that was drawn before, whatever became of
the others, and latency counts from when a request was due. Locust's users are a closed loop unless told otherwise.
"""
