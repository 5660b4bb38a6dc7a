"""The process that starts, watches and restarts all others. Standard library and msgspec only: it stays small.

::

    tree             the whole: what is started in which order, and how it ends
     ├─ folder, sockets, models    what must be had before anything is started
     ├─ engines      the engine places, who of them is in rotation, and what gateways are told of it
     ├─ services     gateways, ops and Redis
     └─ plane_server what gateways and ops hear, and what they ask

    place            one process that is always wanted: the table `lifecycle` driven by what its runs report
     ├─ lifecycle, restart, watchdog, exits, blame      pure: states, policies, verdicts, causes
     └─ engine_run, service_run, redis                  a run: one process with its signs of life
         └─ process  spawn, lines, exit
"""
