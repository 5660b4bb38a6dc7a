"""GPUs, as far as NVML tells: a library that is not there, one that refuses, and cards that know only a part."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from spillway.telemetry.metrics.gpu import Gpus, families_of_gpus, find_library


class NVMLError(Exception):
    pass


class Nvml:
    """Two cards; the second knows nothing but its name and its memory."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, *, driver: bool = True) -> None:
        self.driver = driver
        self.num_asked = 0

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's names
        if not self.driver:
            raise NVMLError("no driver")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:  # noqa: N802
        self.num_asked += 1
        return b"H200" if handle == 0 else "old card"

    def nvmlDeviceGetMemoryInfo(self, _: int) -> Any:  # noqa: N802
        return SimpleNamespace(used=1000, total=4000)

    def __getattr__(self, name: str) -> Any:
        known = {
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=50, memory=10),
            "nvmlDeviceGetPowerUsage": 350_500,
            "nvmlDeviceGetTotalEnergyConsumption": 7_000,
            "nvmlDeviceGetTemperature": 61,
        }

        def ask(handle: int, *_: object) -> Any:
            if handle:
                raise NVMLError("not supported")
            return known[name]

        return ask


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_cards_say_what_they_know_and_nothing_else() -> None:
    first, second = Gpus(Nvml(), clock=Clock()).read()
    assert (first.gpu, first.name, first.utilization, first.memory_used, first.memory) == ("0", "H200", 0.5, 1000, 4000)
    assert (first.power_w, first.temperature_c, first.energy_j) == (350.5, 61, 7.0)
    assert (second.name, second.memory, second.utilization, second.power_w) == ("old card", 4000, None, None)

    found = {family.name: len(family.points) for family in families_of_gpus((first, second))}
    assert found == {
        "spillway_gpu_utilization_ratio": 1,
        "spillway_gpu_memory_used_bytes": 2,
        "spillway_gpu_memory_bytes": 2,
        "spillway_gpu_power_watts": 1,
        "spillway_gpu_temperature_celsius": 1,
        "spillway_gpu_energy_joules": 1,
    }


def test_they_are_asked_once_a_second_at_most() -> None:
    library, clock = Nvml(), Clock()
    gpus = Gpus(library, clock=clock)
    for _ in range(10):
        gpus.read()
    assert library.num_asked == 2
    clock.now += 1.0
    gpus.read()
    assert library.num_asked == 4


@pytest.mark.parametrize("library", [None, Nvml(driver=False)])
def test_without_library_or_driver_there_are_none(library: Any) -> None:
    gpus = Gpus(library, clock=Clock())
    assert len(gpus) == 0
    assert families_of_gpus(gpus.read()) == []


def test_the_library_is_looked_for_and_may_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert find_library() is library
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert find_library() is None
