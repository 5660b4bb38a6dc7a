"""What a drill plays on, all of it started by the drill itself, on this host, on loopback.

==============  ====================================================================================================
`stage`         all of it together, and the one that is played on now
`instance`      `spillway serve`, and how it is asked
`metrics`       what it counts
`targets`       whom a fault may hit
`load`          `python -m spillway_load`, throughout
`recorder`      states of all places, as they change
`receiver`      hears alerts, as Alertmanager's webhooks would
`proxy`         a TCP proxy that can be poisoned, with Toxiproxy's names; `toxics`: what its poisons do
`redis`         a Redis behind the proxy; `collector`: the same for traces
==============  ====================================================================================================
"""
