"""The compiled elementwise arithmetic against numpy and torch."""

from typing import Any

import numpy as np
import pytest
import torch
from numba import njit
from numpy.typing import NDArray

from spillway_engine.cpu import arithmetic
from spillway_engine.cpu.arithmetic import narrow, normalise, rotate, widen
from spillway_engine.cpu.storage import as_array

Floats = NDArray[np.float32]


@njit  # type: ignore[untyped-decorator]  # numba has no stubs
def exp_of(x: Any) -> Any:
    return arithmetic.exp(x)


def test_exp_is_within_two_ulp() -> None:
    xs = np.linspace(-87, 88, 20_001, dtype=np.float32)
    expected = np.exp(xs.astype(np.float64))
    found = np.array([exp_of(x) for x in xs], np.float64)
    assert np.max(np.abs(found - expected) / np.spacing(expected.astype(np.float32))) <= 2.0


@pytest.mark.parametrize(("x", "expected"), [(0.0, 1.0), (-0.0, 1.0), (-88.0, 0.0), (-np.inf, 0.0)])
def test_exp_is_exact_where_softmax_relies_on_it(x: float, expected: float) -> None:
    assert exp_of(np.float32(x)) == expected


def test_exp_passes_nan_on() -> None:
    assert np.isnan(exp_of(np.float32(np.nan)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_storage_rounds_as_torch_does(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.cat(
        [
            torch.randn(1000, generator=generator) * 100,
            torch.tensor([0.0, -0.0, 65504.0, 1e-7, 3.0e38, torch.inf, -torch.inf, torch.nan, 1.00390625, 1.01171875]),
        ]
    )
    stored = torch.empty(len(values), dtype=dtype)
    narrow(as_array(stored), values.numpy())
    assert torch.equal(stored.isnan(), values.to(dtype).isnan())
    assert torch.equal(stored.nan_to_num(7.0), values.to(dtype).nan_to_num(7.0))
    wide = np.empty(len(values), np.float32)
    widen(wide, as_array(stored))
    np.testing.assert_array_equal(wide, stored.float().numpy())


@pytest.mark.parametrize("length", [1, 15, 16, 17, 576])
def test_normalise_is_rms_norm(length: int) -> None:
    generator = np.random.default_rng(length)
    row, weight = (generator.standard_normal(length).astype(np.float32) for _ in range(2))
    out = np.empty_like(row)
    normalise(out, row, weight, np.float32(1e-5), np.empty(16, np.float32))
    expected = row / np.sqrt(np.mean(row.astype(np.float64) ** 2) + 1e-5) * weight
    np.testing.assert_allclose(out, expected, rtol=2e-6)


def test_rotate_keeps_length_and_undoes() -> None:
    generator = np.random.default_rng(0)
    head: Floats = generator.standard_normal(64).astype(np.float32)
    angles: Floats = generator.uniform(0, 6, 32).astype(np.float32)
    turned = head.copy()
    rotate(turned[:32], turned[32:], np.cos(angles), np.sin(angles))
    assert np.linalg.norm(turned) == pytest.approx(np.linalg.norm(head), rel=1e-6)
    rotate(turned[:32], turned[32:], np.cos(angles), -np.sin(angles))
    np.testing.assert_allclose(turned, head, atol=1e-6)
