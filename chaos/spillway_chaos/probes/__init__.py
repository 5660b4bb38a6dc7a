"""Probes: what they say is what is wrong, so that the tolerance of a healthy thing is the empty text.

==============  ====================================================================================================
`steady`        steady state: ready, answering, and nothing owed
`proofs`        that a fault took hold
`books`         all that a request, a stream or an engine's life takes and must give back
==============  ====================================================================================================
"""
