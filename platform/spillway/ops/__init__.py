"""The ops process: readiness, metrics and admin on a port of their own, never on the request path.

What it answers comes from the supervisor; a gateway that drowns in traffic cannot make a probe or a scrape time out.

====================  ==============================================================================================
`app`                 routes, and how errors become bodies
`overseer`            the supervisor as ops sees it: status (kept for a moment) and orders
`readiness`           status → ready, or the reasons why not
`metrics`             status → metric families
`admin`               pool state, drain, restart, faults, profiles
`profile`             py-spy on a running child
`console`             the live page
`objectives`          how promises stand, who is told, `/slo`
`access`              who may do that
====================  ==============================================================================================
"""
