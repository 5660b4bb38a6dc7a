"""What the GPU can do, measured in the same run: a large copy, and a large product."""

import statistics
from collections.abc import Callable

import torch

COPY_BYTES = 4 << 30
PRODUCT = 8192


def time_ms(work: Callable[[], object], repeat: int = 20) -> float:
    """Return the median time of `work` on the device, by events, after three runs for nothing."""
    for _ in range(3):
        work()
    times = []
    for _ in range(repeat):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # torch has no types there
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return float(statistics.median(times))


def copy_bytes_per_s() -> float:
    """Return bytes read plus bytes written per second by a device-to-device copy."""
    source = torch.randint(0, 255, (COPY_BYTES,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / (time_ms(lambda: target.copy_(source)) / 1e3)


def product_flops() -> float:
    """Return operations per second of a large bfloat16 product of random numbers."""
    left, right = (torch.randn(PRODUCT, PRODUCT, device="cuda").to(torch.bfloat16) for _ in range(2))
    return 2 * PRODUCT**3 / (time_ms(lambda: left @ right) / 1e3)
