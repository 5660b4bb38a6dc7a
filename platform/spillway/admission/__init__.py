"""Admission: who is asking, whether they have quota, and whether what they ask can be served in time.

====================  ==============================================================================================
`contract`            the values that all parts share, and what each part promises the others
`identity`            credentials become a caller: keys, bearer tokens, tenants and where these are kept
`ledger`              quotas, shared by all gateways through Redis, and kept locally while it is away
`load`                what the engines can take: their pace, an adaptive limit, predicted time to first token
`queue`               in which order admitted requests wait: bands, and tenants within a band
`shedding`            what is refused, when it may come back, and what is degraded before anything is refused
`door`                one decision out of all that load says
`admission`           what the gateway calls: identify, open, confirm, and a permit that ends exactly once
====================  ==============================================================================================
"""
