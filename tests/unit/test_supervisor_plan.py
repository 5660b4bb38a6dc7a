"""From settings and machine to engines: how many, with which flags, on which device; and what gateways are told."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from spillway.runtime import RuntimeFolder
from spillway.settings import ModelSettings, Settings
from spillway.supervisor.devices import Machine, look, share
from spillway.supervisor.lifecycle import State
from spillway.supervisor.membership import Seat, membership, to_promote
from spillway.supervisor.plan import ENGINE, num_engines, plan, to_flags

LLAMA = ModelSettings(name="llama", model="org/llama", aliases=("l",), engine={"dtype": "float32", "max_num_seqs": 8})
DEMO = ModelSettings(name="demo", model="demo")
PATHS = {"llama": Path("/m/llama"), "demo": Path("/m/demo")}


@pytest.mark.parametrize(
    ("model", "settings", "machine", "count"),
    [
        (DEMO, Settings(), Machine(8), 2),
        (DEMO, Settings(engines=3), Machine(8), 3),
        (replace(DEMO, engines=1), Settings(engines=3), Machine(8), 1),
        (LLAMA, Settings(), Machine(8), 1),
        (LLAMA, Settings(), Machine(8, ("0", "1", "2")), 1),
        (LLAMA, Settings(device="cuda"), Machine(8, ("0", "1", "2")), 3),
        (LLAMA, Settings(device="cuda"), Machine(8), 1),
        (LLAMA, Settings(device="cpu"), Machine(8, ("0", "1", "2")), 1),
    ],
)
def test_the_number_of_engines(model: ModelSettings, settings: Settings, machine: Machine, count: int) -> None:
    assert num_engines(model, settings, machine) == count


def test_engines_share_the_cores() -> None:
    assert [part.settings for part in share(Machine(8), 3, "auto")] == [{"threads": 2}] * 3
    assert [part.settings for part in share(Machine(2), 5, "auto")] == [{"threads": 1}] * 5
    assert [part.settings for part in share(Machine(8, ("0",)), 2, "cpu")] == [{"threads": 4}] * 2


def test_engines_left_to_choose_run_on_the_cpu_and_share_its_cores_whatever_gpus_there_are() -> None:
    parts = share(Machine(8, ("0", "1")), 2, "auto")
    assert [(part.settings, part.environment) for part in parts] == [({"threads": 4}, {})] * 2


def test_a_standby_takes_no_cores_from_those_that_serve() -> None:
    assert [part.settings for part in share(Machine(8), 2, "cpu", num_standby=2)] == [{"threads": 4}] * 4
    (model,) = plan(Settings(models=(LLAMA,), standby=1), PATHS, Machine(6), program=("engine",))
    assert [spec.command[spec.command.index("--threads") + 1] for spec in model.engines] == ["6", "6"]


def test_a_standby_takes_gpu_memory_as_all_do() -> None:
    parts = share(Machine(8, ("0",)), 1, "cuda", num_standby=1)
    assert [part.settings for part in parts] == [{"gpu_memory_utilization": 0.45}] * 2


def test_engines_take_gpus_in_turn_and_share_their_memory() -> None:
    parts = share(Machine(8, ("4", "7")), 3, "cuda")
    assert [part.environment["CUDA_VISIBLE_DEVICES"] for part in parts] == ["4", "7", "4"]
    assert [part.settings for part in parts] == [
        {"gpu_memory_utilization": 0.45},
        {},
        {"gpu_memory_utilization": 0.45},
    ]


def test_gpus_are_counted_without_a_driver_library(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    none = tmp_path / "none"
    assert look({}, tmp_path, none).gpus == ("0", "1")
    assert look({"CUDA_VISIBLE_DEVICES": "3, GPU-5a"}, tmp_path).gpus == ("3", "GPU-5a")
    assert look({"CUDA_VISIBLE_DEVICES": ""}, tmp_path).gpus == ()
    assert look({"CUDA_VISIBLE_DEVICES": "-1"}, tmp_path).gpus == ()
    assert look({}, none).gpus == ()
    assert look({}, tmp_path).num_cores >= 1


def test_gpus_are_named_by_uuid_where_the_driver_tells_it(tmp_path: Path) -> None:
    devices, driver = tmp_path / "dev", tmp_path / "driver"
    devices.mkdir()
    for minor, bus in ((10, "0000:01:00.0"), (2, "0000:41:00.0")):
        (devices / f"nvidia{minor}").touch()
        (driver / bus).mkdir(parents=True)
        (driver / bus / "information").write_text(
            f"Model: \t\t NVIDIA H200\nGPU UUID: \t GPU-{minor}f\nDevice Minor: \t {minor}\nGPU Firmware: \t 1\n"
        )
    assert look({}, devices, driver).gpus == ("GPU-2f", "GPU-10f")
    (devices / "nvidia11").touch()  # one that the driver says nothing of
    assert look({}, devices, driver).gpus == ("0", "1", "2")


def test_the_models_own_settings_go_before_those_for_all_and_those_before_the_share() -> None:
    settings = Settings(models=(LLAMA,), engine={"dtype": "bfloat16", "threads": 5}, device="cpu", chaos=True)
    (model,) = plan(settings, PATHS, Machine(8))
    (spec,) = model.engines
    assert spec.command == (
        *ENGINE, "--model", "/m/llama", "--served-name", "llama",
        "--threads", "5", "--device", "cpu", "--dtype", "float32", "--max-num-seqs", "8", "--chaos",
    )  # fmt: skip
    assert ENGINE[0] == sys.executable


def test_engines_are_numbered_through_all_models_with_their_standbys() -> None:
    settings = Settings(models=(DEMO, LLAMA), standby=1, device="cpu")
    models = plan(settings, PATHS, Machine(5), program=("engine",))
    assert [(model.name, model.num_active, [spec.engine_id for spec in model.engines]) for model in models] == [
        ("demo", 2, ["engine-0", "engine-1", "engine-2"]),
        ("llama", 1, ["engine-3", "engine-4"]),
    ]
    assert [spec.model for spec in models[1].engines] == ["llama", "llama"]
    assert all("--threads" in spec.command and spec.command[0] == "engine" for spec in models[0].engines)


def test_settings_become_flags() -> None:
    assert to_flags({"dtype": "auto", "prefix_caching": False, "trust_remote_code": True, "threads": None}) == [
        "--dtype", "auto", "--no-prefix-caching", "--trust-remote-code",
    ]  # fmt: skip


def seats(*states: State, model: str = "demo") -> list[Seat]:
    return [Seat(f"engine-{number}", model, 1, state) for number, state in enumerate(states)]


@pytest.mark.parametrize(
    ("states", "promoted"),
    [
        ((State.READY, State.READY, State.STANDBY), ()),
        ((State.BACKOFF, State.READY, State.STANDBY), ("engine-2",)),
        ((State.DRAINING, State.STANDBY, State.STANDBY), ("engine-1", "engine-2")),
        ((State.STANDBY, State.STANDBY, State.STANDBY), ("engine-0", "engine-1")),
        ((State.PARKED, State.LOADING, State.WARMING), ()),
    ],
)
def test_standbys_fill_what_is_vacant(states: tuple[State, ...], promoted: tuple[str, ...]) -> None:
    (model,) = plan(Settings(standby=1), PATHS, Machine(2))
    other = [Seat("engine-9", "other", 1, State.READY)]
    assert to_promote(model, [*seats(*states), *other]) == promoted


def test_membership_names_every_engine_and_every_model() -> None:
    models = plan(Settings(models=(DEMO, LLAMA)), PATHS, Machine(2))
    states = [*seats(State.READY, State.PARKED), Seat("engine-2", "llama", 4, State.PARKED)]
    told = membership(3, states, models, RuntimeFolder(Path("/run/s")), retry_parked_s=60)
    assert told.version == 3
    assert [(member.engine_id, member.incarnation, member.model, member.status) for member in told.members] == [
        ("engine-0", 1, "demo", State.READY),
        ("engine-1", 1, "demo", State.PARKED),
        ("engine-2", 4, "llama", State.PARKED),
    ]
    assert told.members[2].address == "unix:/run/s/engine-2.4.sock"
    demo, llama = told.models
    assert (demo.path, demo.aliases, demo.num_engines, demo.hopeless) == ("/m/demo", (), 2, False)
    assert (llama.path, llama.aliases, llama.num_engines, llama.hopeless) == ("/m/llama", ("l",), 1, True)
    assert (demo.retry_s, llama.retry_s) == (None, 60)
