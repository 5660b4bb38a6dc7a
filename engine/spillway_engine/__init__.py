"""Spillway's engine: continuous batching over a paged KV cache, as a library and as a process.

::

    from spillway_engine import Engine, SamplingParams

    with Engine("demo") as engine:
        [output] = engine.generate("Count from 37 to 90", SamplingParams(temperature=0.0))

Names are imported when they are first asked for: a client of an engine process need not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spillway_engine.client.engine_client import EngineClient
    from spillway_engine.offline import Answer, Engine, Output, Piece
    from spillway_engine.settings import EngineSettings
    from spillway_text.folders import resolve_model
    from spillway_text.text import ModelText
    from spillway_wire.sampling import SamplingParams

__all__ = [
    "Answer", "Engine", "EngineClient", "EngineSettings", "ModelText", "Output", "Piece", "SamplingParams",
    "resolve_model",
]  # fmt: skip

_HOMES = {
    "Answer": "spillway_engine.offline",
    "Engine": "spillway_engine.offline",
    "EngineClient": "spillway_engine.client.engine_client",
    "EngineSettings": "spillway_engine.settings",
    "ModelText": "spillway_text.text",
    "Output": "spillway_engine.offline",
    "Piece": "spillway_engine.offline",
    "SamplingParams": "spillway_wire.sampling",
    "resolve_model": "spillway_text.folders",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
