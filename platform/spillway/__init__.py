"""The Spillway platform: supervisor, gateway, pool, ops. It imports neither torch nor the engine."""
