"""What the driver says of this process's GPU, through NVML. Where `pynvml` is missing, or refuses, less is said."""

import importlib
from collections.abc import Callable
from typing import Any, Final

_REASONS: Final = {
    "nvmlClocksEventReasonSwPowerCap": "power cap",
    "nvmlClocksEventReasonHwSlowdown": "hardware slowdown",
    "nvmlClocksEventReasonSwThermalSlowdown": "thermal, by the driver",
    "nvmlClocksThrottleReasonHwThermalSlowdown": "thermal, by the hardware",
    "nvmlClocksThrottleReasonHwPowerBrakeSlowdown": "power brake",
}


class GpuFacts:
    """One GPU, found by its UUID: indices differ between NVML and a process that sees only some GPUs."""

    def __init__(self, uuid: str, library: Any) -> None:
        """`library` is pynvml, or None where there is none."""
        self._uuid, self._library = uuid, library
        self._handle: Any = None
        if library is not None:
            try:
                library.nvmlInit()
                self._handle = library.nvmlDeviceGetHandleByUUID(uuid)
            except library.NVMLError:  # no driver, no right to it, or a share of a GPU that has no handle
                self._handle = None

    def read(self) -> dict[str, Any]:
        """Return what is known now; what the GPU does not tell is left out."""
        found: dict[str, Any] = {"uuid": self._uuid}
        if self._handle is None:
            return found
        nvml = self._library
        name = self._ask(nvml.nvmlDeviceGetName)
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo)
        rates = self._ask(nvml.nvmlDeviceGetUtilizationRates)
        reasons = self._ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons)
        known = {
            "name": name.decode() if isinstance(name, bytes) else name,
            "memory_bytes": memory and memory.total,
            "memory_used_bytes": memory and memory.used,
            "utilization": rates and rates.gpu / 100,
            "temperature_c": self._ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
            "power_w": _scaled(self._ask(nvml.nvmlDeviceGetPowerUsage), 1e-3),
            "ecc_uncorrected": self._ask(
                nvml.nvmlDeviceGetTotalEccErrors, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
            ),
            "throttled_by": None if reasons is None else self._names(reasons),
        }
        return found | {key: value for key, value in known.items() if value is not None}

    def _names(self, reasons: int) -> list[str]:
        bits = ((getattr(self._library, constant, 0), name) for constant, name in _REASONS.items())
        return [name for bit, name in bits if reasons & bit]

    def _ask(self, question: Callable[..., Any], *given: Any) -> Any:
        """Return the answer, or None: not every GPU knows everything."""
        try:
            return question(self._handle, *given)
        except self._library.NVMLError:
            return None


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def find_library() -> Any:
    """Return pynvml, or None if it is not installed."""
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None
