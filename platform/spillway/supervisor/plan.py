"""Which engines there are to be: from the settings and the machine to one `EngineSpec` per engine place. Pure."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spillway.settings import ModelSettings, Settings
from spillway.supervisor.devices import Machine, Share, gpus_for, share
from spillway.supervisor.engine_run import EngineSpec

ENGINE = (sys.executable, "-m", "spillway_engine")
DEMO = "demo"
NUM_DEMO_ENGINES = 2
"""So that one can be killed while the other serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlan:
    """A served model and its engines."""

    name: str
    path: str
    aliases: tuple[str, ...]
    num_active: int
    """Engines in rotation; further ones stand by."""
    engines: tuple[EngineSpec, ...]


def num_engines(model: ModelSettings, settings: Settings, machine: Machine) -> int:
    """How many engines serve a model: as set, else 2 of the demo, else one per GPU if on GPUs, or one."""
    given = model.engines or settings.engines
    if given:
        return given
    if model.model == DEMO:
        return NUM_DEMO_ENGINES
    return max(1, len(gpus_for(machine, settings.device)))


def plan(
    settings: Settings, paths: Mapping[str, Path], machine: Machine, *, program: Sequence[str] = ENGINE
) -> tuple[ModelPlan, ...]:
    """Plan all models; `paths` holds each model's folder by its name. Engines are numbered through all of them."""
    counts = [num_engines(model, settings, machine) for model in settings.models]
    num_standby = settings.standby * len(counts)
    shares = iter(share(machine, sum(counts), settings.device, num_standby=num_standby))
    number = 0
    plans = []
    for model, count in zip(settings.models, counts, strict=True):
        specs = []
        for _ in range(count + settings.standby):
            flags = _flags(model, settings, str(paths[model.name]), part := next(shares))
            specs.append(
                EngineSpec(
                    engine_id=f"engine-{number}",
                    model=model.name,
                    command=(*program, *flags),
                    environment=dict(part.environment),
                )
            )
            number += 1
        plans.append(
            ModelPlan(
                name=model.name,
                path=str(paths[model.name]),
                aliases=model.aliases,
                num_active=count,
                engines=tuple(specs),
            )
        )
    return tuple(plans)


def _flags(model: ModelSettings, settings: Settings, path: str, part: Share) -> list[str]:
    """Return an engine's flags. What was set for the model counts first, then what was set for all, then its share."""
    given = {**part.settings, "device": settings.device, **settings.engine, **model.engine}
    chaos = ["--chaos"] if settings.chaos else []
    return ["--model", path, "--served-name", model.name, *to_flags(given), *chaos]


def to_flags(given: Mapping[str, Any]) -> list[str]:
    """Return engine settings as its flags; None leaves the choice to the engine."""
    found: list[str] = []
    for key, value in given.items():
        name = key.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{name}" if value else f"--no-{name}")
        elif value is not None:
            found += [f"--{name}", str(value)]
    return found
