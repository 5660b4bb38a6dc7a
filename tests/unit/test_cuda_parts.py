"""What the CUDA path decides without a device: memory, errors, facts, and what it says where there is no GPU."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from spillway_engine.cuda.failure import translated
from spillway_engine.cuda.memory import Measured, blocks_for
from spillway_engine.cuda.nvml import GpuFacts
from spillway_engine.cuda.startup import largest_step, starting_limits
from spillway_engine.errors import DeviceError, MemoryBudgetError, SettingsError, is_out_of_memory
from spillway_engine.process.exits import cause_of
from spillway_engine.settings import EngineSettings, SchedulerSettings
from spillway_engine.startup import load_engine

GIB = 1 << 30
BLOCK = 1 << 20


def blocks(utilization: float = 0.9, *, free: int = 64 * GIB, useful: int = 1 << 30, budget: int | None = None) -> int:
    measured = Measured(total=80 * GIB, free_before=free + 16 * GIB, free_after=free)
    return blocks_for(measured, utilization, BLOCK, useful=useful, kv_cache_bytes=budget)


def test_the_cache_gets_what_utilization_leaves() -> None:
    reserve = int(80 * GIB * 0.01)
    assert blocks() == (int(80 * GIB * 0.9) - 16 * GIB - reserve) // BLOCK
    assert blocks(0.45) < blocks() / 2  # weights are paid for from a share, too
    assert blocks(free=10 * GIB) == (10 * GIB - reserve) // BLOCK  # somebody else holds the rest
    assert blocks(useful=100) == 100
    assert blocks(budget=7 * BLOCK + 5) == 7


def test_a_gpu_that_is_too_small_is_said_with_all_figures() -> None:
    with pytest.raises(MemoryBudgetError, match=r"weights and buffers take 16384 MiB.*gpu_memory_utilization is 0\.1"):
        blocks(0.1)
    with pytest.raises(MemoryBudgetError, match="kv_cache_bytes is 107374182400"):
        blocks(budget=100 * GIB)


def test_the_largest_step_fills_tokens_and_slots() -> None:
    for tokens, slots, context in ((100, 7, 4096), (4096, 4, 512), (9, 9, 64)):
        limits = SchedulerSettings(max_num_seqs=slots, max_num_batched_tokens=tokens, max_model_len=context)
        rows = largest_step(limits)
        assert len(rows) == slots
        assert sum(row.num_tokens for row in rows) == min(tokens, slots * context)
        held = [block for row in rows for block in row.sequence.block_ids]
        assert held == list(range(len(held)))


def test_limits_on_a_gpu_run_ahead_and_refuse_a_context_that_the_model_lacks() -> None:
    limits = starting_limits(EngineSettings(model="m", max_num_seqs=3), 1024)
    assert (limits.runs_ahead, limits.max_model_len, limits.max_num_batched_tokens) == (True, 1024, 2048)
    with pytest.raises(SettingsError, match="max_model_len is 4096; this model's context is 1024"):
        starting_limits(EngineSettings(model="m", max_model_len=4096), 1024)


ERRORS = [
    ("CUDA error: an illegal memory access was encountered\nCUDA kernel errors …", "illegal memory access"),
    ("Triton Error [CUDA]: an illegal memory access was encountered", "illegal memory access"),
    ("CUDA error: uncorrectable ECC error encountered", "uncorrectable ECC error"),
    ("CUDA error: device-side assert triggered", "assertion on the device"),
    ("CUDA error: unspecified launch failure", "launch failure"),
    ("CUDA error: no CUDA-capable device is detected", "device lost"),
    ("CUDA error: something nobody has seen", "device error"),
]


@pytest.mark.parametrize(("text", "kind"), ERRORS)
def test_errors_of_the_device_are_named_and_end_the_process(text: str, kind: str) -> None:
    with pytest.raises(DeviceError, match=kind) as raised, translated():
        raise RuntimeError(text)
    assert str(raised.value).startswith(kind)
    assert cause_of(raised.value) == "device"


@pytest.mark.parametrize("text", ["Triton Error [CUDA]: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED"])
def test_want_of_memory_is_no_failure_of_the_device(text: str) -> None:
    with pytest.raises(MemoryError), translated():
        raise RuntimeError(text)
    with pytest.raises(torch.OutOfMemoryError) as raised, translated():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB")
    assert is_out_of_memory(raised.value)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), translated():
        raise RuntimeError("shapes differ")


class NVMLError(Exception):
    pass


class Nvml:
    """One card that knows nothing of ECC."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_VOLATILE_ECC = 0
    nvmlClocksEventReasonSwPowerCap = 4  # noqa: N815 - NVML's name
    nvmlClocksThrottleReasonHwThermalSlowdown = 64  # noqa: N815

    def __init__(self, *, driver: bool = True) -> None:
        self.driver = driver

    def __getattr__(self, name: str) -> Any:
        if "Reason" in name and "Get" not in name:
            raise AttributeError(name)  # an older library
        known = {
            "nvmlInit": None,
            "nvmlDeviceGetHandleByUUID": "handle",
            "nvmlDeviceGetName": b"H200",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=1, total=2),
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=40),
            "nvmlDeviceGetCurrentClocksThrottleReasons": 68,
            "nvmlDeviceGetTemperature": 55,
            "nvmlDeviceGetPowerUsage": 700_000,
        }

        def ask(*_: object) -> Any:
            if not self.driver or name not in known:
                raise NVMLError
            return known[name]

        return ask


def test_a_gpu_says_what_it_knows() -> None:
    assert GpuFacts("GPU-1", Nvml()).read() == {
        "uuid": "GPU-1", "name": "H200", "memory_bytes": 2, "memory_used_bytes": 1, "utilization": 0.4,
        "temperature_c": 55, "power_w": 700.0, "throttled_by": ["power cap", "thermal, by the hardware"],
    }  # fmt: skip
    assert GpuFacts("GPU-1", Nvml(driver=False)).read() == {"uuid": "GPU-1"}
    assert GpuFacts("GPU-1", None).read() == {"uuid": "GPU-1"}


def test_a_cache_that_only_a_gpu_has_is_refused_on_a_cpu() -> None:
    with pytest.raises(SettingsError, match="kv_cache_dtype is 'float8'; allowed on a CPU: auto"):
        load_engine(EngineSettings(model="demo", kv_cache_dtype="float8"))


def test_where_there_is_no_gpu_asking_for_one_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=r"^device is 'cuda'; .* use 'cpu' \(or 'auto'\)$"):
        load_engine(EngineSettings(model="demo", device="cuda"))
