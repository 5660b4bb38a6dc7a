"""Every kernel compiles to machine code for the GPUs in use: the interpreter accepts more than the compiler does."""

import json
import os
import subprocess
import sys
from pathlib import Path

FAKES = Path(__file__).parents[1] / "fakes"
SHARED_BYTES = 227 << 10
"""What a program may have on compute capability 9.0."""


def test_kernels_compile_for_hopper(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, FAKES / "cuda_compiler.py", "90"],
        env={**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert len(found) == 15
    assert all(kernel["shared_bytes"] <= SHARED_BYTES for kernel in found.values())
    # products of few rows and of many make the same kind of instruction, and attention one of its own in both phases
    assert found["multiply"]["wgmma"]
    assert found["multiply_parts"]["wgmma"]
    assert found["attend, 128"]["mma"]
    assert not found["attend, 128"]["wgmma"]
    # float64 rounds after every operation, as on the CPU
    assert not found["draw"]["fused_float64"]
    assert not found["rank_and_weigh"]["fused_float64"]


def test_who_runs_on_the_cpu_imports_no_triton() -> None:
    code = "import sys, spillway_engine.startup, spillway_engine.cpu.startup; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
