"""`locust -f loadtests/locustfile.py`: web UI, headless and distributed; exits with 1 when an objective is missed.

::

    locust -f loadtests/locustfile.py                                                       the web UI; /spillway there
    locust -f loadtests/locustfile.py --headless -u 20 -r 10 -t 30s --campaign steady       no UI
    locust -f loadtests/locustfile.py --headless -u 20 -r 20 -t 30s --processes 2           two cores
    locust -f loadtests/locustfile.py --headless -u 20 -r 20 -t 30s --rate-per-user 2       an open loop of 40 a second
    locust -f loadtests/locustfile.py --headless --follow-shape --rate-per-user 1 --campaign spike          its shape
"""

from spillway_load.users import SpillwayUser

__all__ = ["SpillwayUser"]
