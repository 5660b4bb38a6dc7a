"""Matrix products and what lies between them, interpreted: against torch, and few rows against many, to the bit."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from spillway_engine.cuda.kernels import rows
from spillway_engine.cuda.linear import Linear, Product
from spillway_engine.cuda.tiles import ProductTiles, Tiles, choose_tiles

pytestmark = pytest.mark.usefixtures("cuda_on_cpu")

SMALL = ProductTiles(rows=16, outputs=32, depth=32, warps=1, stages=1)
TILES = replace(choose_tiles(torch.float32, head_dim=16, group=1), few=SMALL, many=SMALL)


def linear(outputs: int, inputs: int, dtype: torch.dtype, *, bias: bool, tiles: Tiles = TILES) -> Linear:
    torch.manual_seed(outputs)
    weight = (torch.randn(outputs, inputs) / inputs**0.5).to(dtype)
    return Linear.of(weight, torch.randn(outputs).to(dtype) if bias else None, tiles)


def in_parts(linear: Linear, left: torch.Tensor) -> Product:
    assert linear.in_parts(len(left))
    parts = torch.full((linear.part_floats(len(left)),), float("nan"))
    return linear(left, len(left), torch.empty(0), parts)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("inputs", [544, 530])
def test_products_are_products(dtype: torch.dtype, tolerance: float, inputs: int) -> None:
    product = linear(40, inputs, dtype, bias=True)
    left = torch.randn(21, inputs).to(dtype)
    out = torch.full((21, 40), float("nan"), dtype=dtype)
    product.into(left, 21, out)
    expected = torch.nn.functional.linear(left.double(), product.weight.double(), product.bias.double())  # type: ignore[union-attr]
    assert (out.double() - expected).norm() / expected.norm() < tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_has_the_same_bits_in_parts_and_whole_alone_and_among_others(dtype: torch.dtype) -> None:
    product = linear(48, 576, dtype, bias=True)
    left = torch.randn(19, 576).to(dtype)
    whole = torch.empty(19, 48, dtype=dtype)
    product.into(left, 19, whole)
    for first, count in ((0, 1), (7, 3), (18, 1)):
        found = in_parts(product, left[first : first + count])
        assert found.parts == 2
        gated = torch.empty(count, 24, dtype=dtype)
        from_parts, from_whole = gated.clone(), gated.clone()
        for out, source in (
            (from_parts, found),
            (from_whole, Product(whole[first : first + count].contiguous(), None, 0, 0)),
        ):
            rows.gate[(count, 1)](
                out, source.source, source.bias, source.part_stride, SIZE=24, BLOCK=32, PARTS=source.parts,
                HAS_BIAS=source.bias is not None,
            )  # fmt: skip
        assert torch.equal(from_parts, from_whole)


def test_a_gate_is_silu_times_up() -> None:
    both = torch.randn(3, 20)
    out = torch.empty(3, 10)
    rows.gate[(3, 1)](out, both, None, 0, SIZE=10, BLOCK=16, PARTS=0, HAS_BIAS=False)
    torch.testing.assert_close(out, torch.nn.functional.silu(both[:, :10]) * both[:, 10:])


def test_norms_add_what_is_left_over_and_pick_rows_without_touching_them() -> None:
    hidden, product, weight = torch.randn(4, 24), torch.randn(4, 24), torch.randn(24)
    summed = hidden + product
    expected = torch.nn.functional.rms_norm(summed, (24,), weight, 1e-5)
    pick = torch.tensor([3, 1], dtype=torch.int32)
    picked, normed = torch.empty(2, 24), torch.empty(4, 24)

    def run(out: torch.Tensor, pick: torch.Tensor | None) -> None:
        rows.add_and_norm[(len(out),)](
            hidden, out, product, None, weight, pick, 1e-5, 0, SIZE=24, BLOCK=32, ADDS=True, PICKS=pick is not None,
            PARTS=0, HAS_BIAS=False,
        )  # fmt: skip

    before = hidden.clone()
    run(picked, pick)
    assert torch.equal(hidden, before)
    torch.testing.assert_close(picked, expected[[3, 1]])
    run(normed, None)
    torch.testing.assert_close(normed, expected)
    torch.testing.assert_close(hidden, summed)


@pytest.mark.parametrize("cache_dtype", [torch.float32, torch.float8_e4m3fn])
@pytest.mark.parametrize("norms", [False, True])
def test_queries_and_keys_are_rotated_and_cached_where_the_table_says(cache_dtype: torch.dtype, norms: bool) -> None:
    heads, kv_heads, half, size = 4, 2, 6, 4
    positions = torch.tensor([5, 0, -1], dtype=torch.int32)
    slots = torch.tensor([1, 0, 2], dtype=torch.int32)
    tables = torch.tensor([[3, 9], [9, 2], [7, 7]], dtype=torch.int32)
    qkv = torch.randn(3, (heads + 2 * kv_heads) * 2 * half)
    angles = torch.outer(torch.arange(8.0), 100.0 ** -(torch.arange(half) / half))
    keys, values = (torch.zeros(10, kv_heads, size, 2 * half, dtype=cache_dtype) for _ in range(2))
    queries = torch.zeros(3, heads * 2 * half)
    weights = torch.rand(2, 2 * half) + 0.5
    scales = (1.0, 1.0) if cache_dtype is torch.float32 else (0.25, 0.5)
    rows.rotate_and_cache[(3, kv_heads)](
        queries, keys, values, qkv, None, weights[0], weights[1], angles.cos(), angles.sin(), tables, slots, positions,
        1e-5, *scales, 0, 2, keys.stride(0), keys.stride(1), BLOCK_SIZE=size, HEADS=heads, KV_HEADS=kv_heads, HALF=half,
        BLOCK=8, NORMS=norms, PARTS=0, HAS_BIAS=False,
    )  # fmt: skip

    def rotated(x: torch.Tensor, position: int) -> torch.Tensor:
        both = torch.cat([angles[position], angles[position]])
        return x * both.cos() + torch.cat([-x[..., half:], x[..., :half]], -1) * both.sin()

    def normed(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.rms_norm(x, (2 * half,), weight, 1e-5) if norms else x

    close: dict[str, Any] = (
        {"rtol": 1e-5, "atol": 1e-5} if cache_dtype is torch.float32 else {"rtol": 0.08, "atol": 0.01}
    )
    for token, block in ((0, 2), (1, 3)):
        position = int(positions[token])
        q, k, v = torch.split(qkv[token].view(-1, 2 * half), [heads, kv_heads, kv_heads])
        torch.testing.assert_close(queries[token].view(heads, -1), rotated(normed(q, weights[0]), position))
        found = keys[block, :, position % size].float() * scales[0]
        torch.testing.assert_close(found, rotated(normed(k, weights[1]), position), **close)
        torch.testing.assert_close(values[block, :, position % size].float() * scales[1], v, **close)
    assert not queries[2].any()  # it only fills the batch up
    assert keys.float().count_nonzero() == 2 * kv_heads * 2 * half


def test_embeddings_of_tokens_that_only_the_device_knows() -> None:
    embedding, hidden = torch.randn(7, 10), torch.empty(3, 10)
    tokens, slots = torch.tensor([4, -1, -1], dtype=torch.int32), torch.tensor([0, 2, 1], dtype=torch.int32)
    rows.embed[(3,)](hidden, tokens, torch.tensor([9, -1, 5], dtype=torch.int32), slots, embedding, SIZE=10, BLOCK=16)
    assert torch.equal(hidden, embedding[[4, 5, 0]])  # an unsound row's -1 reads some embedding, not memory beside it


def test_new_entries_of_block_tables_and_no_others_are_written() -> None:
    tables = torch.zeros(6, dtype=torch.int32)
    rows.scatter[(1,)](
        tables, torch.tensor([4, 1, 3], dtype=torch.int32), torch.tensor([7, 8, 9], dtype=torch.int32),
        torch.tensor([2], dtype=torch.int32), BLOCK=4,
    )  # fmt: skip
    assert tables.tolist() == [0, 8, 0, 0, 7, 0]
