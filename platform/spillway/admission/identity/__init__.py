"""Who is asking: credentials become a caller, and tenants are kept where losing a process or Redis loses none.

::

    spillway.toml ──────────────────────────────┐
                                                ▼
    spillway tenants ──▶ store ──▶ refresh ──▶ directory ──▶ identify ──▶ Caller
                          ▲           ▲                        ▲
    usage, each second ───┘           └──▶ mirror (Redis)      └── bearer ◀── jwks (a file, or https)

====================  ==============================================================================================
`keys`                API keys: how they are made, hashed and compared
`records`             tenants and keys as they are stored, and how two copies become one
`database`            the SQLite file: who may read it, transactions, errors
`store`               the truth on tenants, and the audit of every change
`changes`             what `spillway tenants` may do to it
`usage`               what tenants used, by UTC day: gathered in memory, added up in the store
`directory`           the immutable copy that a gateway decides on
`mirror`              the copy in Redis, by which hosts hear of each other's changes
`refresh`             follows store and mirror
`jwks`, `bearer`      the issuer's keys, and the tokens that they signed
`identify`            headers become a caller, or a refusal that tells nothing; what a caller may use
`identity`            all of it together, for one gateway
====================  ==============================================================================================
"""
