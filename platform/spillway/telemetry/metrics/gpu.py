"""GPUs as NVML sees them, where `pynvml` is installed and finds any; elsewhere there are none, and nothing is said.

NVML may take milliseconds, so it is asked at most once a second, and by a caller who can wait (a thread).
"""

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from spillway.telemetry.metrics.exposition import Family
from spillway_wire import status_names as names
from spillway_wire.metric import Metric

KEPT_S: Final = 1.0
"""A reading this old is still given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One GPU at one moment; None is what it does not tell."""

    gpu: str
    """Its index."""
    name: str
    utilization: float | None = None
    """0 to 1."""
    memory_used: int | None = None
    memory: int | None = None
    """Bytes."""
    power_w: float | None = None
    temperature_c: float | None = None
    energy_j: float | None = None
    """Since the driver was loaded."""


class Gpus:
    """Of this machine. `library` is pynvml, or None where there is none."""

    def __init__(self, library: Any, *, clock: Callable[[], float]) -> None:
        self._library, self._clock = library, clock
        self._handles: list[Any] = []
        self._known: tuple[float, tuple[GpuReading, ...]] | None = None
        if library is not None:
            try:
                library.nvmlInit()
                count = library.nvmlDeviceGetCount()
                self._handles = [library.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
            except library.NVMLError:  # no driver, or no right to it
                self._handles = []

    def __len__(self) -> int:
        return len(self._handles)

    def read(self) -> tuple[GpuReading, ...]:
        """Return all of them, as they were at most `KEPT_S` ago."""
        now = self._clock()
        if self._known is None or now - self._known[0] >= KEPT_S:
            self._known = (now, tuple(self._read(index, handle) for index, handle in enumerate(self._handles)))
        return self._known[1]

    def _read(self, index: int, handle: Any) -> GpuReading:
        library = self._library
        name = self._ask(library.nvmlDeviceGetName, handle)
        rates = self._ask(library.nvmlDeviceGetUtilizationRates, handle)
        memory = self._ask(library.nvmlDeviceGetMemoryInfo, handle)
        power = self._ask(library.nvmlDeviceGetPowerUsage, handle)
        energy = self._ask(library.nvmlDeviceGetTotalEnergyConsumption, handle)
        return GpuReading(
            gpu=str(index),
            name=name.decode() if isinstance(name, bytes) else str(name or ""),
            utilization=None if rates is None else rates.gpu / 100,
            memory_used=None if memory is None else memory.used,
            memory=None if memory is None else memory.total,
            power_w=None if power is None else power / 1000,
            temperature_c=self._ask(library.nvmlDeviceGetTemperature, handle, library.NVML_TEMPERATURE_GPU),
            energy_j=None if energy is None else energy / 1000,
        )

    def _ask(self, question: Callable[..., Any], *given: Any) -> Any:
        """Return the answer, or None: not every GPU knows everything, and one may have fallen off the bus."""
        try:
            return question(*given)
        except self._library.NVMLError:
            return None


def find_library() -> Any:
    """Return pynvml, or None if it is not installed."""
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None


def families_of_gpus(readings: Iterable[GpuReading]) -> list[Family]:
    """Return the families that readings say."""
    found: dict[str, Family] = {}
    for reading in readings:
        for metric, value in _values(reading):
            if value is not None:
                family = Family(metric.name, metric.kind.value, metric.help, metric.unit)
                labels = (("gpu", reading.gpu), ("name", reading.name))
                found.setdefault(metric.name, family).add(labels, value)
    return list(found.values())


def _values(reading: GpuReading) -> tuple[tuple[Metric, float | None], ...]:
    return (
        (names.GPU_UTILIZATION, reading.utilization),
        (names.GPU_MEMORY_USED, reading.memory_used),
        (names.GPU_MEMORY, reading.memory),
        (names.GPU_POWER, reading.power_w),
        (names.GPU_TEMPERATURE, reading.temperature_c),
        (names.GPU_ENERGY, reading.energy_j),
    )
