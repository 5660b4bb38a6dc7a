"""Numbers as they are stored: torch owns the memory, numpy shows it to compiled code."""

import torch

from spillway_engine.compiled import Array

_BITS = {torch.float32: torch.float32, torch.bfloat16: torch.uint16, torch.float16: torch.int16}
"""What compiled code sees of each type (see `vector.STORAGE`)."""


def as_array(tensor: torch.Tensor) -> Array:
    """Return the flat numpy view of a contiguous tensor."""
    array: Array = tensor.view(-1).view(_BITS[tensor.dtype]).numpy()
    return array


def as_floats(tensors: list[torch.Tensor | None]) -> Array:
    """Return tensors, one after another, as float32; empty if there are none."""
    present = [tensor.detach().float().reshape(-1) for tensor in tensors if tensor is not None]
    return as_array(torch.cat(present) if present else torch.empty(0))
