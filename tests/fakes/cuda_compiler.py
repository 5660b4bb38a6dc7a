"""Compiles every kernel for a GPU that need not be there, and prints what came of it as JSON. A program of its own:
Triton is either imported to interpret or to compile.
"""

import json
import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from spillway_engine.cuda.kernels import attention, choose, linear, logits, logprobs, rows

BF16, F32, F64, I32, F8 = "*bf16", "*fp32", "*fp64", "*i32", "*fp8e4nv"
SIZES = {"outputs", "inputs", "part", "vocab", "stride"}
"""Numbers that are multiples of 16 in practice, besides strides: Triton looks at them, and so does this."""


def attend(head_dim: int, keys: str, stages: int) -> tuple[Any, dict[str, str], dict[str, Any], dict[str, Any]]:
    pointers = {"out": BF16, "queries": BF16, "keys": keys, "values": keys, "tables": I32, "positions": I32}
    tasks = ("task_token", "task_count", "task_row", "task_split", "task_splits", "task_part", "num_tasks")
    pointers |= dict.fromkeys(tasks, I32) | dict.fromkeys(("part_output", "part_highest", "part_total"), F32)
    pointers |= dict.fromkeys(("scale", "softcap", "key_scale", "value_scale"), "fp32")
    sizes = {
        "BLOCK_SIZE": 16, "HEAD_DIM": head_dim, "DIM": head_dim, "KV_HEADS": 8, "GROUP": 4, "ROWS": 32,
        "TILE": 64 if head_dim <= 128 else 32, "SPLIT": 256, "SOFTCAP": False, "PRECISION": "tf32",
    }  # fmt: skip
    return attention.attend, pointers, sizes, {"num_warps": 4, "num_stages": stages}


def product(
    kernel: Any, tile: tuple[int, int, int], warps: int
) -> tuple[Any, dict[str, str], dict[str, Any], dict[str, Any]]:
    sizes = {"ROWS": tile[0], "OUTPUTS": tile[1], "DEPTH": tile[2], "EVEN": True, "PRECISION": "tf32"}
    if kernel is linear.multiply:
        sizes |= {"bias": None, "HAS_BIAS": False, "BAND": 8}
    return (
        kernel,
        {"out": BF16, "parts": F32, "left": BF16, "weights": BF16},
        sizes,
        {"num_warps": warps, "num_stages": 4},
    )


def cases() -> dict[str, tuple[Any, dict[str, str], dict[str, Any], dict[str, Any]]]:
    words = dict.fromkeys(("words", "counts", "counted", "latest", "bias_ids", "suppressed_ids", "token_ids"), I32)
    reals = dict.fromkeys(("logits", "changed", "tops", "own_tops", "bias_values", "limits", "heights"), F32)
    choice = words | reals | {"lasts": I32, "best_scores": F64, "best_tokens": I32, "ids": I32, "values": F64}
    choice |= {"ranks": I32, "founds": I32, "chosen": I32}
    block = {"BLOCK": 1024}
    rotated = {
        "queries": BF16, "keys": BF16, "values": BF16, "source": F32, "bias": BF16, "query_norm": BF16,
        "key_norm": BF16, "cosines": F32, "sines": F32, "tables": I32, "slots": I32, "positions": I32,
        "epsilon": "fp32", "key_scale": "fp32", "value_scale": "fp32",
    }  # fmt: skip
    norm = {"hidden": F32, "normed": BF16, "source": F32, "bias": BF16, "weight": BF16, "pick": I32, "epsilon": "fp32"}
    return {
        "attend, 128": attend(128, BF16, 3),
        "attend, 64, float8": attend(64, F8, 3),
        "combine": (
            attention.combine,
            {"out": BF16} | dict.fromkeys(("part_output", "part_highest", "part_total"), F32)
            | dict.fromkeys(("merge_token", "merge_part", "merge_parts", "num_merges"), I32),
            {"HEAD_DIM": 128, "DIM": 128, "KV_HEADS": 8, "GROUP": 4, "HEADS": 4}, {},
        ),
        "multiply": product(linear.multiply, (128, 128, 64), 8),
        "multiply_parts": product(linear.multiply_parts, (64, 64, 128), 4),
        "add_and_norm": (
            rows.add_and_norm, norm,
            {"SIZE": 4096, "BLOCK": 4096, "ADDS": True, "PICKS": True, "PARTS": 4, "HAS_BIAS": True}, {"num_warps": 8},
        ),
        "gate": (
            rows.gate, {"out": BF16, "source": BF16},
            {"bias": None, "SIZE": 14336, "BLOCK": 1024, "PARTS": 0, "HAS_BIAS": False}, {},
        ),
        "rotate_and_cache": (
            rows.rotate_and_cache, rotated,
            {"BLOCK_SIZE": 16, "HEADS": 32, "KV_HEADS": 8, "HALF": 64, "BLOCK": 64, "NORMS": True, "PARTS": 4,
             "HAS_BIAS": True}, {"num_warps": 1},
        ),
        "count_and_copy": (logits.count_and_copy, choice, block, {}),
        "bias": (logits.bias, choice, {"BLOCK": 128}, {}),
        "scan": (logits.scan, choice, block, {}),
        "find_limit": (choose.find_limit, choice, block | {"BLOCKS": 128}, {}),
        "draw": (choose.draw, choice, block, {}),
        "choose": (choose.choose, choice, {"BLOCKS": 128}, {}),
        "rank_and_weigh": (logprobs.rank_and_weigh, choice, block, {}),
    }  # fmt: skip


def main(capability: int) -> None:
    found = {}
    for name, (kernel, types, constants, options) in cases().items():
        arguments = kernel.arg_names
        signature = {a: "constexpr" if a in constants else types.get(a, "i32") for a in arguments}
        aligned = {
            (index,): [["tt.divisibility", 16]]
            for index, a in enumerate(arguments)
            if signature[a].startswith("*") or (signature[a] == "i32" and (a in SIZES or a.endswith("_stride")))
        }
        known = {(arguments.index(a),): value for a, value in constants.items() if a in arguments}
        source = ASTSource(kernel, signature, known, aligned)
        compiled = triton.compile(
            source, target=GPUTarget("cuda", capability, 32), options={"enable_fp_fusion": False, **options}
        )
        ptx = compiled.asm["ptx"]
        found[name] = {
            "binary_bytes": len(compiled.asm["cubin"]),
            "shared_bytes": compiled.metadata.shared,
            "wgmma": "wgmma.mma_async" in ptx,
            "mma": "mma.sync" in ptx,
            "fused_float64": "fma.rn.f64" in ptx,
        }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
