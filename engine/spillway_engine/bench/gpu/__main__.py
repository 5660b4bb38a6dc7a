"""`python -m spillway_engine.bench.gpu`: one short run, a table on standard output, all figures as JSON."""

import argparse
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import triton

from spillway_engine.bench.gpu.ceilings import copy_bytes_per_s, product_flops
from spillway_engine.bench.gpu.shapes import SHAPES
from spillway_engine.bench.gpu.steps import decodes, make, prefill
from spillway_engine.cuda.device import CudaDevice
from spillway_engine.errors import EngineError

BATCHES = (1, 8, 32, 64, 128, 256)
PARTS = ("steps", "library", "peers")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m spillway_engine.bench.gpu", description=__doc__)
    parser.add_argument("--models", default="1b,8b", help=f"of {', '.join(SHAPES)}, separated by commas")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}, separated by commas")
    parser.add_argument("--out", type=Path, default=Path(".bench/gpu.json"))
    chosen = parser.parse_args(arguments)
    for key, known in (("models", tuple(SHAPES)), ("parts", PARTS)):
        names = getattr(chosen, key).split(",")
        setattr(chosen, key, names)
        if unknown := [name for name in names if name not in known]:
            parser.error(f"unknown --{key} {', '.join(unknown)}; known: {', '.join(known)}")
    return chosen


def main() -> int:
    """Measure, print, write. What was measured is written after every part, so that an interruption loses little."""
    chosen = parse()
    try:
        device = CudaDevice()
    except EngineError as error:
        sys.stderr.write(f"bench.gpu: {error}\n")
        return 2
    properties = torch.cuda.get_device_properties(device.torch_device)
    copy, product = copy_bytes_per_s(), product_flops()
    found: dict[str, Any] = {
        "command": "python -m spillway_engine.bench.gpu " + " ".join(sys.argv[1:]),
        "gpu": properties.name,
        "multiprocessors": properties.multi_processor_count,
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda,
            "triton": triton.__version__,
        },
        "copy GB/s": copy / 1e9,
        "product TFLOP/s": product / 1e12,
        "models": {},
    }  # fmt: skip
    table("ceilings", [{"copy GB/s": copy / 1e9, "product TFLOP/s": product / 1e12}])
    for name in chosen.models:
        entry = found["models"][name] = {}
        for part, invariant in (("steps", True), ("library", False)):
            if part in chosen.parts:
                entry[part] = _steps(name, device, copy, product, invariant=invariant)
                write(found, chosen.out)
    if "peers" in chosen.parts:
        from spillway_engine.bench.gpu.peers import against_peers  # noqa: PLC0415 - imports transformers

        name = chosen.models[0]
        rows = found["peers"] = list(against_peers(SHAPES[name], chosen.out.parent / f"gpu-{name}"))
        shown = ("name", "ran", "tokens_per_s")
        table(f"{name}: 64 requests in flight", [{key: row.get(key) for key in shown} for row in rows])
        write(found, chosen.out)
    return 0


def _steps(name: str, device: CudaDevice, copy: float, product: float, *, invariant: bool) -> dict[str, Any]:
    shape = SHAPES[name]
    prepared = make(shape, device, invariant=invariant, max_num_seqs=max(BATCHES))
    try:
        kind = "our products" if invariant else "the library's products"
        rows = list(decodes(prepared, shape, copy, BATCHES))
        table(f"{name}, {kind} ({prepared.exactness}): decode", rows)
        filled = prefill(prepared, shape, product)
        table(f"{name}, {kind}: prefill", [filled])
        return {
            "exactness": str(prepared.exactness),
            "warm-up s": prepared.warmup_s,
            "decode": rows,
            "prefill": filled,
        }
    finally:
        prepared.runner.close()
        del prepared
        device.give_back()


def table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print mappings of the same keys."""
    cells = [list(rows[0])] + [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sys.stdout.write(f"\n{title}\n")
    for line in cells:
        sys.stdout.write("  " + "  ".join(c.rjust(width) for c, width in zip(line, widths, strict=True)) + "\n")
    sys.stdout.flush()


def write(found: Mapping[str, Any], out: Path) -> None:
    """Write everything measured so far."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
