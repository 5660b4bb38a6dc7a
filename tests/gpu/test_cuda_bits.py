"""On a GPU, with the real tiles: the right numbers, and the same bits whatever else is in the batch."""

from typing import Any

import numpy as np
import pytest
import torch

from spillway_engine.cuda.choosing import Choosing
from spillway_engine.cuda.kernels import rows
from spillway_engine.cuda.kernels.attention import attend, combine
from spillway_engine.cuda.landing import Landing
from spillway_engine.cuda.linear import Linear, Product, precision
from spillway_engine.cuda.sampler import DeviceSampler
from spillway_engine.cuda.tiles import choose_tiles, power_of_two
from spillway_engine.cuda.words import NUM_LOGPROBS, WORDS
from spillway_engine.cuda.work import plan_tasks
from spillway_engine.request import Request, Sequence
from spillway_engine.sampling import reference
from spillway_engine.sampling.sampler import CpuSampler
from spillway_wire.sampling import SamplingParams

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda", 0)
TYPES = [torch.bfloat16, torch.float16, torch.float32]


def read(product: Product, count: int, size: int, dtype: torch.dtype) -> torch.Tensor:
    """Read gate times one, so that parts are added as the model adds them."""
    out = torch.full((count, size), float("nan"), dtype=dtype, device=CUDA)
    rows.gate[(count, -(-size // 1024))](
        out, product.source, product.bias, product.part_stride, SIZE=size, BLOCK=1024, PARTS=product.parts,
        HAS_BIAS=product.bias is not None, enable_fp_fusion=False,
    )  # fmt: skip
    return out


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("outputs", "inputs"), [(6144, 4096), (4096, 14336), (28672, 4096), (320, 576)])
def test_a_products_rows_are_right_and_have_the_same_bits_for_every_number_of_rows(
    dtype: torch.dtype, outputs: int, inputs: int
) -> None:
    weight = (torch.randn(outputs, inputs, device=CUDA) / inputs**0.5).to(dtype)
    linear = Linear.of(weight, None, choose_tiles(dtype, head_dim=128, group=4))
    left = torch.randn(700, inputs, device=CUDA).to(dtype)
    whole = torch.full((700, outputs), float("nan"), dtype=dtype, device=CUDA)
    linear.into(left, 700, whole)
    expected = left[:64].double() @ weight.double().T
    tolerance = 1e-5 if dtype is torch.float32 else 1e-2
    assert (whole[:64].double() - expected).norm() / expected.norm() < tolerance
    gated = read(Product(whole, None, 0, 0), 700, outputs // 2, dtype)
    differing = []
    for count in (1, 2, 3, 7, 8, 16, 33, 64, 65, 128, 200, 256, 300, 511):
        out = torch.empty(count, outputs, dtype=dtype, device=CUDA)
        parts = torch.full((max(1, linear.part_floats(count)),), float("nan"), device=CUDA)
        found = read(linear(left[5 : 5 + count], count, out, parts), count, outputs // 2, dtype)
        if not torch.equal(found, gated[5 : 5 + count]):
            differing.append(count)
    assert not differing


@pytest.mark.parametrize("cache", ["same", "float8"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("heads_of", [(64, 8, 4), (128, 8, 4), (80, 4, 1), (256, 2, 8)])
@pytest.mark.parametrize("seen", [(1 << 30, 0.0), (300, 0.0), (1 << 30, 30.0)])
def test_attention_is_right_and_a_decode_has_the_bits_of_a_prompt(
    dtype: torch.dtype, heads_of: tuple[int, int, int], seen: tuple[int, float], cache: str
) -> None:
    (head_dim, kv_heads, group), (window, softcap) = heads_of, seen
    tiles = choose_tiles(dtype, head_dim=head_dim, group=group).attention
    heads, length, size = kv_heads * group, 1100, 16
    kept = torch.float8_e4m3fn if cache == "float8" else dtype
    blocks = -(-length // size)
    table = torch.randperm(2 * blocks, device=CUDA)[None, :blocks].int()
    keys, values = (
        torch.full((2 * blocks, kv_heads, size, head_dim), float("nan"), device=CUDA).to(kept) for _ in range(2)
    )
    numbers = torch.randn(2, blocks * size, kv_heads, head_dim, device=CUDA).to(dtype)
    for target, source in zip((keys, values), numbers, strict=True):
        paged = source.view(blocks, size, kv_heads, head_dim).transpose(1, 2).to(kept)
        target.view(torch.uint8)[table[0].long()] = paged.contiguous().view(torch.uint8)
        source.copy_(source.to(kept).to(dtype))
    queries = torch.randn(length, heads, head_dim, device=CUDA).to(dtype)

    def run(start: int, count: int, max_parts: int) -> torch.Tensor:
        tasks = plan_tasks(
            *np.array([[start], [count], [0]], np.int32), tile_tokens=tiles.rows // group, split_keys=tiles.split,
            max_parts=max_parts,
        )  # fmt: skip
        arrays: dict[str, Any] = {
            n: torch.from_numpy(np.ascontiguousarray(getattr(tasks, n))).to(CUDA) for n in tasks.__slots__
        }
        positions = torch.arange(start, start + count, device=CUDA).int()
        given = queries[start : start + count].contiguous()
        out = torch.full_like(given, float("nan"))
        parts = torch.full((max_parts + 1, heads, head_dim), float("nan"), device=CUDA)
        highest, total = (torch.empty(max_parts + 1, heads, device=CUDA) for _ in range(2))
        shape = {"HEAD_DIM": head_dim, "DIM": max(16, power_of_two(head_dim)), "KV_HEADS": kv_heads, "GROUP": group}
        counts = torch.tensor([[len(tasks.token)], [len(tasks.merge_token)]], dtype=torch.int32, device=CUDA)
        attend[(64,)](
            out, given, keys, values, table, positions, arrays["token"],
            arrays["count"], arrays["row"], arrays["split"], arrays["splits"], arrays["part"], counts[0], parts,
            highest, total, head_dim**-0.5, softcap, 1.0, 1.0, window, heads * head_dim, heads * head_dim, blocks,
            keys.stride(0), keys.stride(1), BLOCK_SIZE=size, **shape, ROWS=tiles.rows, TILE=tiles.keys,
            SPLIT=tiles.split, SOFTCAP=softcap > 0, PRECISION=precision(dtype), num_warps=tiles.warps,
            num_stages=tiles.stages, enable_fp_fusion=False,
        )  # fmt: skip
        combine[(1, kv_heads)](
            out, parts, highest, total, arrays["merge_token"], arrays["merge_part"], arrays["merge_parts"], counts[1],
            heads * head_dim, **shape, HEADS=power_of_two(group), enable_fp_fusion=False,
        )  # fmt: skip
        return out

    prompt = run(0, length, 0)
    scores = torch.einsum("qhd,khd->hqk", queries.double(), numbers[0, :length].double().repeat_interleave(group, 1))
    scores *= head_dim**-0.5
    if softcap:
        scores = torch.tanh(scores / softcap) * softcap
    distance = torch.arange(length, device=CUDA)[:, None] - torch.arange(length, device=CUDA)
    scores = scores.masked_fill((distance < 0) | (distance >= window), float("-inf"))
    expected = torch.einsum("hqk,khd->qhd", scores.softmax(2), numbers[1, :length].double().repeat_interleave(group, 1))
    assert (prompt.double() - expected).norm() / expected.norm() < (1e-5 if dtype is torch.float32 else 1e-2)
    for position in (0, 255, 256, 700, 1099):
        for max_parts in (0, 8):
            assert torch.equal(run(position, 1, max_parts)[0], prompt[position]), (position, max_parts)
    assert torch.equal(run(700, 37, 8), prompt[700:737])


@pytest.mark.parametrize("vocab", [1000, 128_256])
def test_sampled_tokens_and_logprobs_are_the_cpus(gpu: Any, vocab: int) -> None:
    rng = np.random.default_rng(7)
    kinds = [
        SamplingParams(temperature=0.0),
        SamplingParams(seed=2**64 - 3),
        SamplingParams(top_k=50, top_p=0.9, seed=5),
        SamplingParams(temperature=2.0, min_p=0.01, seed=6),
        SamplingParams(
            temperature=0.7, repetition_penalty=1.3, presence_penalty=0.4, frequency_penalty=0.2, seed=8,
            logit_bias={3: 5.0, 9: -100.0}, min_tokens=9, stop_token_ids=(4, 5),
        ),
    ]  # fmt: skip
    slots = len(kinds)
    choosing = Choosing.allocate(slots, vocab, 1, CUDA)
    sampler = DeviceSampler(gpu, choosing, slots, vocab, (0,))
    output = (11, 12, 11)
    for slot, params in enumerate(kinds):
        request = Request(key=("c", str(slot), 1), prompt_token_ids=[1, 2], params=params, arrival=0)
        sequence = Sequence(request, slot, max_output_tokens=9, resumed_tokens=output)
        sequence.slot = slot
        sampler.join(sequence)
    for _ in range(8):
        logits = (rng.standard_normal((slots, vocab)) * 3).astype(np.float32)
        words = np.zeros(slots * WORDS, np.int32)
        sampler.fill(words, np.arange(slots, dtype=np.int32), np.full(slots, len(output), np.int32))
        words.reshape(slots, WORDS)[:, NUM_LOGPROBS] = 5
        device_words = torch.from_numpy(words).to(CUDA)
        choosing.logits.copy_(torch.from_numpy(logits))
        choosing.sample(device_words, slots)
        choosing.logprobs(device_words, choosing.token_ids, slots)
        landing = Landing.on(gpu, slots)
        landing.fetch(gpu, choosing, slots, tokens=True, logprobs=True)
        gpu.mark().wait()
        for slot, params in enumerate(kinds):
            expected = reference.sample(
                logits[slot], params, choice=slot, prompt=[1, 2], output=output, eos_token_ids=(0,)
            )
            assert landing.token(slot) == expected
            assert expected is not None
            assert landing.logprobs(slot, 5) == CpuSampler(1, vocab).logprobs(logits[slot], expected, 5)
