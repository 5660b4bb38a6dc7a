"""Which models are served, as what, and with which engines: the settings whose names the user chooses.

::

    spillway.toml                        flags                                      variables (split as a shell would)
    [models.chat]
    model = "/models/llama"              --model chat=/models/llama                 SPILLWAY_MODEL
    engines = 2                          --model-option chat.engines=2              SPILLWAY_MODEL_OPTION
    aliases = ["gpt-4o", "llama"]        --model-option chat.aliases=gpt-4o,llama
    [models.chat.engine]
    dtype = "bfloat16"                   --model-option chat.engine.dtype=bfloat16
    [engine]
    threads = 2                          --engine-option threads=2                  SPILLWAY_ENGINE_OPTION

Engine options are the flags of `python -m spillway_engine`; the engine itself refuses what it does not know.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from spillway.configuration.keys import ENGINES_OF_A_MODEL
from spillway.configuration.values import Several, Text, read_scalar
from spillway.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Repeated:
    """A flag that may be given more than once, and its variable."""

    flag: str
    variable: str
    metavar: str
    help: str


MODEL: Final = Repeated(
    "--model",
    "SPILLWAY_MODEL",
    "[NAME=]MODEL",
    "A model to serve: a Hugging Face folder, a hub id, or `demo`. Without NAME it bears the folder's name or the id.",
)
MODEL_OPTION: Final = Repeated(
    "--model-option",
    "SPILLWAY_MODEL_OPTION",
    "NAME.KEY=VALUE",
    "What differs for one model: engines, aliases (separated by commas), or engine.OPTION.",
)
ENGINE_OPTION: Final = Repeated(
    "--engine-option",
    "SPILLWAY_ENGINE_OPTION",
    "OPTION=VALUE",
    "A setting of every engine, such as dtype, max_model_len or threads: any flag of `python -m spillway_engine`.",
)

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")
_OPTION: Final = re.compile(r"[a-z][a-z0-9_]*")
_ENGINE_OPTION_OF: Final = re.compile(r"(.+?)\.engine\.([^.]+)")
_TAKEN: Final = {
    "model": "[models]",
    "served_name": "[models]",
    "device": "device",
    "chaos": "chaos",
    "address": None,
    "engine_id": None,
    "incarnation": None,
    "page": None,
    "parent_pid": None,
}
"""Flags of an engine that are Spillway's to give, and the setting that decides them."""
_KEYS: Final = ("model", "engines", "aliases", "engine")


def _model_name(text: str) -> str | None:
    if _NAME.fullmatch(text) and not text.endswith(".engine") and len(text) <= 128:
        return None
    return "a model's name: at most 128 letters, digits and ._:/@+-, with a letter or digit first"


_ALIASES: Final = Several(Text(_model_name))


@dataclass(frozen=True, slots=True)
class ModelPart:
    """What one source says of one model; None: nothing."""

    model: str | None = None
    engines: int | None = None
    aliases: tuple[str, ...] | None = None
    engine: dict[str, Any] = field(default_factory=dict)

    def under(self, upper: "ModelPart") -> "ModelPart":
        """Return this, with `upper` where it says something."""
        return ModelPart(
            model=self.model if upper.model is None else upper.model,
            engines=self.engines if upper.engines is None else upper.engines,
            aliases=self.aliases if upper.aliases is None else upper.aliases,
            engine=self.engine | upper.engine,
        )


def _wrong(origin: str, value: object, allowed: object) -> ConfigurationError:
    return ConfigurationError(f"{origin} is {value!r}; it must be {allowed}")


# ---- from a file ----


def model_from_file(name: str, table: dict[str, Any], origin: str) -> ModelPart:
    """Read `[models.NAME]`."""
    problem = _model_name(name)
    if problem is not None:
        raise ConfigurationError(f"{origin}: {name!r} is not {problem}")
    part = ModelPart()
    for key, value in table.items():
        place = f"{origin}.{key}"
        if key not in _KEYS:
            quoted = " A name with a dot in it is written in quotes." if isinstance(value, dict) else ""
            raise ConfigurationError(f"{place} is no setting of a model; there are: {', '.join(_KEYS)}.{quoted}")
        try:
            match key:
                case "model":
                    part = replace(part, model=Text().from_file(value))
                case "engines":
                    part = replace(part, engines=ENGINES_OF_A_MODEL.from_file(value))
                case "aliases":
                    part = replace(part, aliases=_ALIASES.from_file(value))
                case "engine":
                    if not isinstance(value, dict):
                        raise ValueError("a table")  # noqa: TRY301, TRY004 - told as the others are
                    part = replace(part, engine=engine_options_from_file(value, place))
        except ValueError as error:
            raise _wrong(place, value, error) from None
    return part


def engine_options_from_file(table: dict[str, Any], origin: str) -> dict[str, Any]:
    """Read `[engine]` or `[models.NAME.engine]`."""
    options: dict[str, Any] = {}
    for key, value in table.items():
        place = f"{origin}.{key}"
        if not isinstance(value, str | int | float):
            raise _wrong(place, value, "a number, a text, or true or false")
        options[_option(key, origin)] = value
    return options


# ---- from text ----


def models_from_text(texts: Sequence[str], origin: str) -> dict[str, str]:
    """Read each `NAME=MODEL` or `MODEL`."""
    models: dict[str, str] = {}
    for text in texts:
        name, separator, model = text.partition("=")
        if not separator or _model_name(name) is not None:
            name, model = _own_name(text), text
        if not model or _model_name(name) is not None:
            raise _wrong(origin, text, f"a model or NAME=MODEL; NAME is {_model_name('')}")
        if name in models:
            raise ConfigurationError(f"{origin} names {name!r} twice; write NAME=MODEL with another name")
        models[name] = model
    return models


def _own_name(model: str) -> str:
    """A folder is served under its own name, a hub id as it is."""
    looks_like_path = model.startswith((".", "/", "~")) or Path(model).is_dir()
    return Path(model).resolve().name if looks_like_path else model


def model_options_from_text(texts: Sequence[str], origin: str) -> dict[str, ModelPart]:
    """Read each `NAME.KEY=VALUE`."""
    parts: dict[str, ModelPart] = {}
    for text in texts:
        place, separator, value = text.partition("=")
        of_engine = _ENGINE_OPTION_OF.fullmatch(place)
        try:
            if of_engine is not None and separator:
                name = of_engine[1]
                part = ModelPart(engine={_option(of_engine[2], origin): read_scalar(value)})
            else:
                name, _, key = place.rpartition(".")
                if not (name and separator) or key not in {"engines", "aliases"}:
                    raise ValueError("NAME.engines=N, NAME.aliases=A,B or NAME.engine.OPTION=VALUE")  # noqa: TRY301
                if key == "engines":
                    part = ModelPart(engines=ENGINES_OF_A_MODEL.from_text(value))
                else:
                    part = ModelPart(aliases=_ALIASES.from_text(value))
        except ValueError as error:
            raise _wrong(origin, text, error) from None
        parts[name] = parts.get(name, ModelPart()).under(part)
    return parts


def engine_options_from_text(texts: Sequence[str], origin: str) -> dict[str, Any]:
    """Read each `OPTION=VALUE`."""
    options: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator:
            raise _wrong(origin, text, "OPTION=VALUE")
        options[_option(key, origin)] = read_scalar(value)
    return options


def _option(key: str, origin: str) -> str:
    name = key.removeprefix("--").replace("-", "_")
    if not _OPTION.fullmatch(name):
        raise ConfigurationError(f"{origin}: {key!r} is no engine option; they look like max_model_len")
    if name in _TAKEN:
        decides = _TAKEN[name]
        instead = f"the setting {decides} decides it" if decides else "Spillway gives it to its engines itself"
        raise ConfigurationError(f"{origin}: {key} is no engine option that can be chosen: {instead}")
    return name
