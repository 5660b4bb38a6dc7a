"""The compiled matrix products against float64, and their independence of the number of rows, to the bit."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spillway_engine.cpu.linear import PANEL, interleave_gate_up, multiply, multiply_gated, num_panels, pack, padded
from spillway_engine.cpu.storage import as_array
from spillway_engine.cpu.vector import multiplies_pairs

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
Floats = NDArray[np.float32]
PAIRS = [False, *[True] * multiplies_pairs()]
"""Whether matrices are packed in pairs of bfloat16; only where the processor can multiply them."""


def packed(weight: torch.Tensor, *, pairs: bool = False) -> torch.Tensor:
    panels = torch.full((padded(weight.shape[0]) * weight.shape[1],), torch.nan, dtype=weight.dtype)
    pack(weight, panels, pairs=pairs)
    return panels


def product(left: Floats, weight: torch.Tensor, *, out: Floats | None = None, pairs: bool = False) -> Floats:
    """`left @ weight.T`, added to `out` if that is given; with `pairs`, of `left` rounded to bfloat16."""
    rows, depth = left.shape
    width = padded(weight.shape[0])
    target = np.zeros((rows, width), np.float32)
    if out is not None:
        target[:, : out.shape[1]] = out
    scratch = np.empty(depth * PANEL, np.float32)
    multiply(
        target.reshape(-1), width, rounded(left) if pairs else left.reshape(-1), depth, rows,
        as_array(packed(weight, pairs=pairs)), 0, depth, 0,
        num_panels(weight.shape[0]), scratch, out is not None,
    )  # fmt: skip
    return target[:, : weight.shape[0]]


def rounded(left: Floats) -> NDArray[np.uint16]:
    """The bits of bfloat16, flat."""
    return as_array(torch.from_numpy(left).bfloat16().contiguous())


def random_matrix(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "outputs", "depth"), [(1, 48, 16), (7, 50, 33), (8, 5, 1), (9, 144, 64), (150, 97, 40)]
)
def test_multiply_is_the_product(dtype: torch.dtype, rows: int, outputs: int, depth: int) -> None:
    left, weight = random_matrix(rows, depth), random_matrix(outputs, depth, seed=1).to(dtype)
    expected = left.double() @ weight.double().T
    np.testing.assert_allclose(product(left.numpy(), weight), expected.numpy(), atol=2e-5)


@pytest.mark.parametrize("pairs", PAIRS)
@pytest.mark.parametrize(("rows", "outputs", "depth"), [(1, 48, 16), (7, 50, 34), (9, 144, 64), (150, 97, 2)])
def test_multiply_of_bfloat16_rows_is_the_product(pairs: bool, rows: int, outputs: int, depth: int) -> None:
    left = random_matrix(rows, depth).bfloat16()
    weight = random_matrix(outputs, depth, seed=1).bfloat16()
    expected = left.double() @ weight.double().T
    found = product(left.float().numpy(), weight, pairs=pairs)
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-5)


def test_multiply_adds_to_what_is_there() -> None:
    left, weight, before = random_matrix(5, 32), random_matrix(70, 32, seed=1), random_matrix(5, 70, seed=2)
    expected = before.double() + left.double() @ weight.double().T
    np.testing.assert_allclose(product(left.numpy(), weight, out=before.numpy()), expected.numpy(), atol=2e-5)


KINDS = [(dtype, False) for dtype in DTYPES] + [(torch.bfloat16, pairs) for pairs in PAIRS[1:]]


@pytest.mark.parametrize(("dtype", "pairs"), KINDS)
def test_a_row_has_the_same_bits_in_any_company(dtype: torch.dtype, pairs: bool) -> None:
    # 150 rows are beyond the number from which panels are widened first
    left, weight = random_matrix(150, 96).numpy(), random_matrix(100, 96, seed=1).to(dtype)
    whole = product(left, weight, pairs=pairs)
    for rows in (1, 2, 3, 5, 8, 13, 129):
        for start in (0, 4, 150 - rows):
            found = product(left[start : start + rows], weight, pairs=pairs)
            np.testing.assert_array_equal(found, whole[start : start + rows])


@pytest.mark.parametrize("biased", [False, True])
def test_multiply_gated_is_silu_of_gate_times_up(biased: bool) -> None:
    inner, depth, rows = 70, 40, 150
    left, gate, up = (
        random_matrix(rows, depth),
        random_matrix(inner, depth, seed=1),
        random_matrix(inner, depth, seed=2),
    )
    bias = [random_matrix(inner, seed=3), random_matrix(inner, seed=4)] if biased else [torch.zeros(inner)] * 2
    both = torch.empty(2 * padded(inner) * depth)
    pack(interleave_gate_up(gate, up), both)
    out = np.zeros((rows, padded(inner)), np.float32)
    scratch = np.empty((depth + 8) * 2 * PANEL, np.float32)
    joined = interleave_gate_up(*bias).numpy() if biased else np.empty(0, np.float32)
    multiply_gated(
        out.reshape(-1), padded(inner), left.numpy().reshape(-1), depth, rows, both.numpy(), 0, depth, 0,
        num_panels(inner), scratch, joined, 0,
    )  # fmt: skip
    wide = left.double()
    expected = torch.nn.functional.silu(wide @ gate.double().T + bias[0]) * (wide @ up.double().T + bias[1])
    np.testing.assert_allclose(out[:, :inner], expected.numpy(), atol=1e-4)
    np.testing.assert_array_equal(out[:, inner:], 0.0)
