"""What machine a figure comes from."""

import os
import platform
from pathlib import Path
from typing import Any

_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, what bears on matrix products, and how busy the machine was."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    model = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "")
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return {
        "processor": model or platform.processor(),
        "cores": os.cpu_count(),
        "features": [feature for feature in _FEATURES if feature in flags],
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
    }
