"""Quotas: one atomic script in Redis, its twin in this process, and what chooses between the two.

==============  ====================================================================================================
`lua/`          the scripts; `scripts` calls them, `accounts` and `local` are their twin, `answers` reads both
`line`          one connection; `shared` puts claims of one tick into one pipeline
`breaker`       when to stop asking and when to ask again; `share` is what is kept to meanwhile
`claims`        where each claim under way is held; `outbox` what is still to be settled
`upkeep`        settles, renews, beats, reaps, probes
`guarded`       the ledger of a gateway: all of it together
==============  ====================================================================================================
"""

from spillway.admission.ledger.guarded import GuardedLedger

__all__ = ["GuardedLedger"]
