"""The process that starts, watches and restarts all others. Standard library and msgspec only: it stays small.

::

    main             from settings to an exit status: what must be had first, then serve, then end
     ├─ folder, sockets, models, devices, plan     the folder, the ports, the model folders, who gets what
     ├─ give_up, reload, stop_requests, detached   when to give up; SIGHUP; how often asked to end; the log
     ├─ shutdown     the orderly end
     └─ tree         all places and what they are told
         ├─ engines        who is in rotation (`membership`), whose fault a death is (`blame`), `orders`
         ├─ services       gateways, ops, Redis
         ├─ plane_server   what gateways and ops hear, and what they ask (`status`)
         └─ place          one process that is always wanted: the table `lifecycle`, driven by its runs
             ├─ restart, watchdog, exits           pure: policies, verdicts, causes
             └─ run                                one process with its signs of life:
                 ├─ engine_run, engine_link        page and control channel
                 ├─ service_run                    beats and tally
                 ├─ redis, exec_with_parent        pings; a foreign program that ends with us
                 └─ process, child_output          spawn, lines, end
"""
