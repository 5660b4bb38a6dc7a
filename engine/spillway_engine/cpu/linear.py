"""Matrix products over packed weights: `out = left @ weights.T`, a range of panels for each thread.

Weights of N outputs and K inputs are stored as panels of 48 outputs, each a K x 48 block in memory order (`pack`), zero
beyond N. So a panel is one stream, read front to back; and a thread that owns a panel owns 48 columns of the output.
Where the processor multiplies pairs of bfloat16, a panel is K/2 x 48 x 2 and `left` holds bfloat16 (see `vector`).
"""

from typing import Any

import torch

from spillway_engine.compiled import Array, compiled
from spillway_engine.cpu.arithmetic import add, gate, widen
from spillway_engine.cpu.vector import LANES, MAX_ROWS, tile

VECTORS = 3
PANEL = VECTORS * LANES
"""Outputs of a panel."""

_WIDEN_FROM_ROWS = 16 * MAX_ROWS + 1
"""From here on a panel is widened to float32 once instead of in every tile of rows."""


@compiled
def num_panels(outputs: int) -> Any:
    """Panels that hold `outputs` columns."""
    return -(-outputs // PANEL)


def padded(outputs: int) -> int:
    """Columns of these panels, those of the padding included."""
    return int(num_panels(outputs)) * PANEL


def pack(weight: torch.Tensor, into: torch.Tensor, *, pairs: bool = False) -> None:
    """Copy `weight` [N, K] into the flat `into` (padded(N) * K elements of the same type) as panels."""
    outputs, inputs = weight.shape
    step = 2 if pairs else 1
    view = into.view(num_panels(outputs), inputs // step, PANEL, step)
    whole = outputs // PANEL
    view[:whole].copy_(weight[: whole * PANEL].view(whole, PANEL, inputs // step, step).transpose(1, 2))
    rest = outputs - whole * PANEL
    if rest:
        view[whole].zero_()
        view[whole, :, :rest].copy_(weight[whole * PANEL :].view(rest, inputs // step, step).transpose(0, 1))


@compiled
def multiply(
    out: Array, out_stride: int, left: Array, left_stride: int, rows: int, weights: Array, weights_at: int, depth: int,
    first_panel: int, last_panel: int, scratch: Array, adds: bool,
) -> None:  # fmt: skip
    """Compute panels [first, last) of `out [rows, N] (+)= left [rows, depth] @ weights.T`. All arrays are flat.

    `scratch` is this thread's: depth * 48 floats, for a widened panel.
    """
    widens = rows >= _WIDEN_FROM_ROWS and weights.itemsize < left.itemsize
    for p in range(first_panel, last_panel):
        at = weights_at + p * depth * PANEL
        if widens:
            widen(scratch[: depth * PANEL], weights[at : at + depth * PANEL])
        for row in range(0, rows, MAX_ROWS):
            n = min(MAX_ROWS, rows - row)
            to = row * out_stride + p * PANEL
            of = row * left_stride
            if widens:
                tile(VECTORS, 0, n, adds, out, to, out_stride, left, of, left_stride, scratch, 0, PANEL, depth)
            else:
                tile(VECTORS, 1, n, adds, out, to, out_stride, left, of, left_stride, weights, at, PANEL, depth)


@compiled
def multiply_gated(
    out: Array, out_stride: int, left: Array, left_stride: int, rows: int, weights: Array, weights_at: int, depth: int,
    first_pair: int, last_pair: int, scratch: Array, bias: Array, bias_at: int,
) -> None:  # fmt: skip
    """Compute `out = silu(left @ gate.T) * (left @ up.T)`; gate and up panels alternate in `weights`.

    `scratch` holds (depth + 8) * 96 floats; `bias` is empty, or interleaved as the panels are.
    """
    pair_width = 2 * PANEL
    sums = depth * pair_width
    widens = rows >= _WIDEN_FROM_ROWS and weights.itemsize < left.itemsize
    for pair in range(first_pair, last_pair):
        at = weights_at + pair * depth * pair_width
        if widens:
            widen(scratch[:sums], weights[at : at + sums])
        for row in range(0, rows, MAX_ROWS):
            n = min(MAX_ROWS, rows - row)
            of = row * left_stride
            for half in range(2):
                to = sums + half * PANEL
                part = half * depth * PANEL
                if widens:
                    tile(
                        VECTORS, 0, n, False, scratch, to, pair_width, left, of, left_stride, scratch, part, PANEL,
                        depth,
                    )  # fmt: skip
                else:
                    tile(
                        VECTORS, 1, n, False, scratch, to, pair_width, left, of, left_stride, weights, at + part, PANEL,
                        depth,
                    )  # fmt: skip
            for r in range(n):
                both = scratch[sums + r * pair_width : sums + (r + 1) * pair_width]
                if bias.size > 0:
                    add(both, bias[bias_at + pair * pair_width : bias_at + (pair + 1) * pair_width])
                to = (row + r) * out_stride + pair * PANEL
                gate(out[to : to + PANEL], both[:PANEL], both[PANEL:])


@compiled
def share(count: int, thread: int, threads: int) -> Any:
    """Return the first and last of `count` things that are this thread's."""
    return count * thread // threads, count * (thread + 1) // threads


def interleave_gate_up(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Return [2 * padded(I), ...]: panels of gate and up in turn, zero beyond I."""
    outputs = gate.shape[0]
    joined = gate.new_zeros((num_panels(outputs), 2, PANEL, *gate.shape[1:]))
    for half, tensor in enumerate((gate, up)):
        full = gate.new_zeros((padded(outputs), *gate.shape[1:]))
        full[:outputs] = tensor
        joined[:, half] = full.view(num_panels(outputs), PANEL, *gate.shape[1:])
    return joined.reshape(-1, *gate.shape[1:])


__all__ = [
    "PANEL", "interleave_gate_up", "multiply", "multiply_gated", "num_panels", "pack", "padded", "share",
]  # fmt: skip
