"""Identifiers that cross process boundaries, as distinct types over `str` and `int`."""

from typing import NewType

RequestId = NewType("RequestId", str)
"""Chosen by the client of an engine; unique among that client's requests in flight."""

Attempt = NewType("Attempt", int)
"""Counts the engines tried for one request, from 1. With the request's id it fences late tokens."""

EngineId = NewType("EngineId", str)
"""The place in the pool, such as `engine-0`; it outlives the processes that fill it."""

Incarnation = NewType("Incarnation", int)
"""Counts the processes that have filled a place in the pool, from 1. Each has an address of its own."""

ClientId = NewType("ClientId", str)
"""Who talks to an engine: a gateway, the supervisor, a test. One client owns one set of channels."""
