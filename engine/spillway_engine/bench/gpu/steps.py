"""Steps of a made-up model on the GPU: decodes on their graphs, prefill, and what lies between two steps."""

import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from spillway_engine.bench.gpu.ceilings import time_ms
from spillway_engine.bench.gpu.shapes import MadeUpTensors
from spillway_engine.core import EngineCore
from spillway_engine.cuda.buffers import block_bytes
from spillway_engine.cuda.device import CudaDevice
from spillway_engine.cuda.runner import CudaRunner
from spillway_engine.cuda.startup import num_programs, prepare
from spillway_engine.cuda.weights import weight_bytes
from spillway_engine.model.config import ModelShape
from spillway_engine.prepared import Prepared
from spillway_engine.settings import EngineSettings
from spillway_wire.messages import Submit
from spillway_wire.sampling import SamplingParams

CONTEXT = 1024
STEPS = 40
BLOCK_SIZE = 16


def make(shape: ModelShape, device: CudaDevice, *, invariant: bool, max_num_seqs: int) -> Prepared:
    """Make a model ready whose weights are random."""
    settings = EngineSettings(
        model="made up", device="cuda", batch_invariant=invariant, max_num_seqs=max_num_seqs, max_model_len=4096,
        max_num_batched_tokens=8192, prefix_caching=False, block_size=BLOCK_SIZE,
    )  # fmt: skip
    tensors = MadeUpTensors(shape, device.torch_device)
    return prepare(settings, shape, torch.bfloat16, tensors, device, programs=num_programs(device))


def bytes_of_step(shape: ModelShape, batch: int, context: int) -> int:
    """Bytes that a decode of `batch` sequences must read: the weights once, and every sequence's keys and values."""
    unread = 0 if shape.tie_word_embeddings else shape.vocab_size * shape.hidden_size * 2
    cache = block_bytes(shape, torch.bfloat16, BLOCK_SIZE) * batch * context // BLOCK_SIZE
    return weight_bytes(shape, torch.bfloat16) - unread + cache


def decodes(prepared: Prepared, shape: ModelShape, copy: float, batches: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield a row for each batch: the graph alone, the step around it, and what of the copy's bandwidth that is."""
    runner = prepared.runner
    assert isinstance(runner, CudaRunner)  # noqa: S101 - it was made here
    for batch in batches:
        core = _decoding(prepared, shape, batch)
        graph_ms = time_ms(lambda batch=batch: runner.replay(batch), 10)  # type: ignore[misc]
        core.step()
        started = time.perf_counter()
        for _ in range(STEPS):
            core.step()
        step_ms = (time.perf_counter() - started) * 1e3 / STEPS
        core.abort_client("bench")
        moved = bytes_of_step(shape, batch, CONTEXT)
        yield {
            "batch": batch,
            "graph ms": graph_ms,
            "step ms": step_ms,
            "gap us": (step_ms - graph_ms) * 1e3,
            "tokens/s": batch / step_ms * 1e3,
            "GB/s": moved / graph_ms / 1e6,
            "of copy": moved / (graph_ms / 1e3) / copy,
        }


def prefill(prepared: Prepared, shape: ModelShape, product: float, tokens: int = 8192) -> dict[str, Any]:
    """Compute prompts that fill a step; operations of the products alone against those of a large product."""
    core = EngineCore(prepared.limits, prepared.runner, vocab_size=shape.vocab_size, eos_token_ids=())
    times = []
    each = 2048
    for turn in range(5):
        for index in range(tokens // each):
            prompt = [(turn * 7919 + index * 31 + n * 13) % shape.vocab_size for n in range(each)]
            params = SamplingParams(temperature=0.0, max_tokens=1)
            core.submit("bench", Submit(request_id=f"{turn}.{index}", prompt_token_ids=prompt, params=params))
        started = time.perf_counter()
        while core.has_work:
            core.step()
        times.append(time.perf_counter() - started)
    seconds = statistics.median(times[1:])
    layers = weight_bytes(shape, torch.bfloat16) // 2 - shape.vocab_size * shape.hidden_size
    layers -= 0 if shape.tie_word_embeddings else shape.vocab_size * shape.hidden_size
    return {
        "tokens": tokens,
        "ms": seconds * 1e3,
        "tokens/s": tokens / seconds,
        "TFLOP/s": 2 * layers * tokens / seconds / 1e12,
        "of product": 2 * layers * tokens / seconds / product,
    }


def _decoding(prepared: Prepared, shape: ModelShape, batch: int) -> EngineCore:
    """Return a core in which `batch` sequences decode, each about CONTEXT tokens long in the middle of the run."""
    core = EngineCore(prepared.limits, prepared.runner, vocab_size=shape.vocab_size, eos_token_ids=())
    for index in range(batch):
        prompt = [(index * 131 + n * 17) % shape.vocab_size for n in range(CONTEXT - STEPS // 2)]
        params = SamplingParams(temperature=0.0, max_tokens=4 * STEPS, ignore_eos=True)
        core.submit("bench", Submit(request_id=str(index), prompt_token_ids=prompt, params=params))
    while core.load().running < batch or core.load().waiting_prefill_tokens:
        core.step()
    core.step()
    return core
