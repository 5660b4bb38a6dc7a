"""What a GPU's errors mean: out of memory passes, the others end the process.

After most errors a CUDA context answers every call with the same error: nothing in this process can use the device
again. PyTorch and Triton raise them as RuntimeErrors of several classes, so they are told by what they say.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from spillway_engine.errors import DeviceError, is_out_of_memory

_MARKS = ("cuda error", "triton error [cuda]", "cublas", "device-side assert", "nccl")
"""What every error of the device has in its text, in lower case."""

_KINDS = (
    ("illegal memory access", "illegal memory access"),
    ("illegal address", "illegal memory access"),
    ("misaligned address", "misaligned address"),
    ("illegal instruction", "illegal instruction"),
    ("ecc error", "uncorrectable ECC error"),
    ("device-side assert", "assertion on the device"),
    ("gpu is lost", "device lost"),
    ("fallen off the bus", "device lost"),
    ("no cuda-capable device", "device lost"),
    ("device unavailable", "device unavailable"),
    ("busy or unavailable", "device unavailable"),
    ("launch failure", "launch failure"),
    ("launch timed out", "launch timed out"),
    ("hardware stack error", "hardware stack error"),
    ("nvlink", "NVLink error"),
)
"""Text of the driver (`cudaGetErrorString`), and what last words call it."""

_NO_MEMORY = ("out of memory", "alloc_failed")


@contextmanager
def translated() -> Iterator[None]:
    """Raise the device's errors as `DeviceError` that says which, or `MemoryError`; let all others pass."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        text = str(error).lower()
        if not any(mark in text for mark in _MARKS) and type(error).__name__ != "AcceleratorError":
            raise
        if any(mark in text for mark in _NO_MEMORY):
            raise MemoryError(str(error)) from error
        raise DeviceError(f"{kind_of(text)}: {str(error).splitlines()[0]}") from error


def kind_of(text: str) -> str:
    """Name the kind of error that a text in lower case tells of."""
    return next((kind for mark, kind in _KINDS if mark in text), "device error")
