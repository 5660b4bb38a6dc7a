"""A proof before serving: a short prompt, paged and in pieces, must give the model's own logits.

Flags and configurations say what a model should do. This finds the ones that do something else: position biases or
masks of their own, state beside keys and values, layers that share each other's.
"""

from typing import TYPE_CHECKING

import torch

from spillway_engine.errors import UnsupportedModelError
from spillway_engine.exactness import probe_sequence
from spillway_engine.hf.attention import IMPLEMENTATION
from spillway_engine.hf.packing import PackedStep
from spillway_engine.plan import Row

if TYPE_CHECKING:
    from spillway_engine.hf.model import PagedModel

_PIECES = (7, 4, 1)
_BLOCK_SIZE = 4
_TOLERANCE = {torch.float32: 1e-3}
_HALF_TOLERANCE = 0.2
"""Relative, of the whole row. Attention in float32 against a model's own in 16 bits differs by a few hundredths."""


def check_paging(model: "PagedModel") -> None:
    """Raise `UnsupportedModelError` if paged logits are not the model's own. Leaves no cache behind."""
    tokens = [(7 * index + 3) % model.vocab_size for index in range(sum(_PIECES))]
    with torch.inference_mode():
        paged = _paged_logits(model, tokens)
        own = _own_logits(model, tokens)
    error = float((paged - own).norm() / own.norm().clamp_min(1e-12))
    allowed = _TOLERANCE.get(model.dtype, _HALF_TOLERANCE)
    if not error <= allowed:  # also true of NaN
        raise UnsupportedModelError(
            f"{type(model.module).__name__} cannot be paged: its logits differ by {error:.2g} of their size from "
            f"those of its own attention ({allowed} is allowed)"
        )


def _paged_logits(model: "PagedModel", tokens: list[int]) -> torch.Tensor:
    sequence = probe_sequence(tokens, 0, _BLOCK_SIZE)
    null_block = len(sequence.block_ids)
    model.state.allocate(null_block, _BLOCK_SIZE, model.device)
    logits = torch.empty(0)
    start = 0
    for count in _PIECES:
        row = Row(sequence, start, count, samples=True)
        step = PackedStep([row], block_size=_BLOCK_SIZE, null_block=null_block, device=model.device)
        logits = model.logits(step, torch.tensor([count - 1], device=model.device))
        start += count
    model.state.caches = {}
    return logits


def _own_logits(model: "PagedModel", tokens: list[int]) -> torch.Tensor:
    model.module.set_attn_implementation("eager")
    try:
        ids = torch.tensor([tokens], device=model.device)
        logits: torch.Tensor = model.module(input_ids=ids, use_cache=False).logits[0, -1:].float()
    finally:
        model.module.set_attn_implementation(IMPLEMENTATION)
    return logits
