"""Where settings come from: defaults, then `spillway.toml`, then the environment, then flags; the later one counts.

====================  ==============================================================================================
`keys`                every setting by name, found in the dataclasses; and what is allowed
`values`              kinds of values: reading, limits, writing
`models`              the settings whose names the user chooses: models and engine options
`routes`              rules that choose a model; in the file alone
`admission`           tiers, tenants and the brownout ladder; in the file alone
`layers`              what one source says
`checks`              what holds between settings
`flags`               the flags, for argparse
====================  ==============================================================================================
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from spillway.configuration.admission import merged_tiers, tenants_of
from spillway.configuration.checks import StoredTenants, check
from spillway.configuration.layers import (
    CONFIG_VARIABLE,
    DEFAULT_FILE,
    Layer,
    did_you_mean,
    environment_layer,
    file_layer,
    flags_layer,
)
from spillway.configuration.models import ModelPart
from spillway.errors import ConfigurationError
from spillway.settings import ModelSettings, Settings
from spillway.state import StateFolder

__all__ = ["configure", "did_you_mean", "merge"]


def configure(
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    folder: Path,
    *,
    has_tenants: StoredTenants | None = None,
) -> Settings:
    """Return the settings of all sources, or raise `ConfigurationError`.

    `flags` is what `flags.add_flags` makes argparse leave; relative to `folder` lies the file. `has_tenants` tells of
    the setting `state_dir` whether tenants were made at run time; None: the state folder is looked at.
    """

    def stored(state_dir: str | None) -> bool:
        from spillway.admission.identity.database import FILE, holds_tenants  # noqa: PLC0415 - seldom asked

        return holds_tenants(StateFolder.of(state_dir, environment).path / FILE)

    chosen = flags.get("--config") or environment.get(CONFIG_VARIABLE)
    file = folder / (chosen or DEFAULT_FILE)
    layers = [file_layer(file)] if chosen or file.exists() else []
    return merge([*layers, environment_layer(environment), flags_layer(flags)], has_tenants or stored)


def _none(_: str | None) -> bool:
    return False


def merge(layers: list[Layer], has_tenants: StoredTenants = _none) -> Settings:
    """Return the settings that `layers` make, the last one on top, over the defaults."""
    given = {place: value for layer in layers for place, value in layer.values.items()}
    engine = {option: value for layer in layers for option, value in layer.engine.items()}
    top = {place: each.value for place, each in given.items()}
    groups: dict[str, Any] = {}
    for field in fields(Settings):
        default: Any = None if field.default_factory is MISSING else field.default_factory()
        if not is_dataclass(default) or isinstance(default, type):
            continue
        prefix = field.name + "."
        inner = {place.removeprefix(prefix): value for place, value in top.items() if place.startswith(prefix)}
        groups[field.name] = replace(default, **inner)
    plain = {place: value for place, value in top.items() if "." not in place}
    routes = tuple(rule for layer in layers for rule in layer.routes)
    tiers = merged_tiers([layer.tiers for layer in layers])
    tenants = {name: part for layer in layers for name, part in layer.tenants.items()}
    ladders = [layer.brownout for layer in layers if layer.brownout is not None]
    settings = Settings(
        models=_models(layers),
        routes=routes,
        engine=engine,
        tiers=tiers,
        tenants=tenants_of(tenants, tiers, groups["admission"].anonymous_tier),
        brownout=(ladders or [Settings().brownout])[-1],
        **plain,
        **groups,
    )
    check(settings, lambda place: given[place].origin if place in given else place, has_tenants)
    return settings


def _models(layers: list[Layer]) -> tuple[ModelSettings, ...]:
    """The topmost source that names models decides which are served; what is said of them adds up."""
    served: Mapping[str, str] = {model.name: model.model for model in Settings().models}
    for layer in layers:
        served = served if layer.served is None else layer.served
    declared = {*served, *(name for layer in layers for name in layer.served or ())}
    parts: dict[str, ModelPart] = {}
    for layer in layers:
        for name, part in layer.models.items():
            if name not in declared:
                hint = did_you_mean(name, served) or f"; served are: {', '.join(served)}"
                raise ConfigurationError(f"an option is given for the model {name!r}, which is not served{hint}")
            parts[name] = parts.get(name, ModelPart()).under(part)
    return tuple(_model(name, model, parts.get(name, ModelPart())) for name, model in served.items())


def _model(name: str, model: str, part: ModelPart) -> ModelSettings:
    return ModelSettings(name=name, model=model, engines=part.engines, aliases=part.aliases or (), engine=part.engine)
