"""The engine as a process against transformers, and vLLM where it is installed: the same model, prompts and lengths."""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from spillway_engine.bench.loadrun import measure_ours
from spillway_engine.bench.peers import PEERS, PeerResult, measure
from spillway_engine.bench.workload import make_case
from spillway_engine.model.config import ModelShape

CONCURRENCY = 64
PEER_NAMES = ("transformers_generate", "transformers_continuous")


def write_model(shape: ModelShape, folder: Path) -> Path:
    """Write a folder that transformers and the engine can load, with random weights."""
    if (folder / "model.safetensors").is_file() or (folder / "model.safetensors.index.json").is_file():
        return folder
    config = LlamaConfig(
        hidden_size=shape.hidden_size, num_hidden_layers=shape.num_layers, num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads, head_dim=shape.head_dim, intermediate_size=shape.intermediate_size,
        vocab_size=shape.vocab_size, max_position_embeddings=shape.max_position_embeddings,
        tie_word_embeddings=shape.tie_word_embeddings, bos_token_id=None, eos_token_id=None, dtype="bfloat16",
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
    )  # fmt: skip
    draft = folder.with_name(f".{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)
    with torch.device("cuda"):
        torch.manual_seed(20_25)
        torch.set_default_dtype(torch.bfloat16)
        try:
            model = LlamaForCausalLM(config)
        finally:
            torch.set_default_dtype(torch.float32)
    model.save_pretrained(draft)
    draft.rename(folder)
    return folder


def against_peers(shape: ModelShape, folder: Path, rounds: int = 4) -> Iterator[dict[str, Any]]:
    """Yield a row for the engine and each peer, at CONCURRENCY requests in flight."""
    case = make_case(write_model(shape, folder), shape.vocab_size, CONCURRENCY, 8, rounds=rounds)
    ours = measure_ours(case, device="cuda")
    yield {"name": "spillway", "ran": True, **asdict(ours)}
    for name in PEER_NAMES:
        outcome = measure(replace(PEERS[name], options={"device": "cuda"}), case, timeout_s=240.0)
        yield {**asdict(outcome), "ran": isinstance(outcome, PeerResult)}
