"""What one source says: the file, the environment, or the command line; each value with the name it was given by."""

import difflib
import shlex
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from spillway.configuration.admission import TenantPart, brownout_from_file, tenant_from_file, tier_from_file
from spillway.configuration.keys import BY_HAND, Key, every_key
from spillway.configuration.models import (
    ENGINE_OPTION,
    MODEL,
    MODEL_OPTION,
    ModelPart,
    engine_options_from_file,
    engine_options_from_text,
    model_from_file,
    model_options_from_text,
    models_from_text,
)
from spillway.configuration.routes import routes_from_file
from spillway.configuration.values import Kind
from spillway.errors import ConfigurationError
from spillway.settings import BrownoutStep, RouteRule

DEFAULT_FILE: Final = "spillway.toml"
CONFIG_VARIABLE: Final = "SPILLWAY_CONFIG"
_PREFIX: Final = "SPILLWAY_"
_NOT_OURS: Final = ("SPILLWAY_SERVICE_", "SPILLWAY_PORT_")
"""What Kubernetes sets in every pod of a namespace that has a service named `spillway`."""
_Part = TypeVar("_Part")


@dataclass(frozen=True, slots=True)
class Given:
    """A checked value, and the name it was given by: `--port`, `SPILLWAY_PORT` or `spillway.toml: network.port`."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Layer:
    """All that one source says."""

    values: Mapping[str, Given] = field(default_factory=dict)
    """By place in the file."""
    engine: Mapping[str, Any] = field(default_factory=dict)
    served: Mapping[str, str] | None = None
    """Which models are served, by name; None: it does not say."""
    models: Mapping[str, ModelPart] = field(default_factory=dict)
    """What else it says of models, by name."""
    routes: tuple[RouteRule, ...] = ()
    """Only a file has any, and what follows."""
    tiers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """What it says of tiers, by name."""
    tenants: Mapping[str, TenantPart] = field(default_factory=dict)
    brownout: tuple[BrownoutStep, ...] | None = None
    """The whole ladder; None: it does not say."""


def read(kind: Kind, value: object, origin: str) -> Given:
    """Check a value of a file. Raises `ConfigurationError` with the name, what was given and what is allowed."""
    try:
        return Given(kind.from_file(value), origin)
    except ValueError as error:
        raise ConfigurationError(f"{origin} is {value!r}; it must be {error}") from None


def read_text(kind: Kind, text: str, origin: str) -> Given:
    """Read a value from text. Raises as `read` does."""
    try:
        return Given(kind.from_text(text), origin)
    except ValueError as error:
        raise ConfigurationError(f"{origin} is {text!r}; it must be {error}") from None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean X?)`, or nothing if no known word is like `word`."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.75)
    return f" (did you mean {near[0]}?)" if near else ""


# ---- the file ----


def file_layer(path: Path) -> Layer:
    """Read a configuration file."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"the configuration file {path} cannot be read: {reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from None
    return _Reader(path.name).layer(content)


class _Reader:
    """Reads one file's content."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._keys = {key.in_file: key for key in every_key()}
        self._groups = {key.group for key in self._keys.values() if key.group}

    def layer(self, content: dict[str, Any]) -> Layer:
        values: dict[str, Given] = {}
        engine: dict[str, Any] = {}
        models: dict[str, ModelPart] = {}
        routes: tuple[RouteRule, ...] = ()
        tiers: dict[str, dict[str, float]] = {}
        tenants: dict[str, TenantPart] = {}
        brownout: tuple[BrownoutStep, ...] | None = None
        for name, value in content.items():
            if name == "engine":
                engine = engine_options_from_file(self._table(name, value), self._origin(name))
            elif name == "models":
                models = self._named(name, value, model_from_file)
            elif name == "tiers":
                tiers = self._named(name, value, tier_from_file)
            elif name == "tenants":
                tenants = self._named(name, value, tenant_from_file)
            elif name == "brownout":
                brownout = brownout_from_file(value, self._origin(name))
            elif name == "routes":
                routes = routes_from_file(value, self._origin(name))
            elif name in self._groups:
                for inner, each in self._table(name, value).items():
                    self._take(f"{name}.{inner}", each, values)
            else:
                self._take(name, value, values)
        served = {name: part.model or name for name, part in models.items()} if models else None
        return Layer(values, engine, served, models, routes, tiers, tenants, brownout)

    def _take(self, place: str, value: object, values: dict[str, Given]) -> None:
        key = self._keys.get(place)
        if key is None:
            known = [*self._keys, *self._groups, *BY_HAND]
            by_last_part = [name for name in self._keys if name.rpartition(".")[2] == place.rpartition(".")[2]]
            hint = f" (did you mean {by_last_part[0]}?)" if by_last_part else did_you_mean(place, known)
            raise ConfigurationError(f"{self._origin(place)} is no setting{hint}")
        values[place] = read(key.kind, value, self._origin(place))

    def _named(
        self, name: str, value: object, read_one: Callable[[str, dict[str, Any], str], _Part]
    ) -> dict[str, _Part]:
        """Read tables whose names are the user's: [NAME.ONE], [NAME.OTHER]."""
        return {
            each: read_one(each, self._table(f"{name}.{each}", part), self._origin(f"{name}.{each}"))
            for each, part in self._table(name, value).items()
        }

    def _table(self, place: str, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ConfigurationError(f"{self._origin(place)} is {value!r}; it must be a table, written [{place}]")
        return value

    def _origin(self, place: str) -> str:
        return f"{self._name}: {place}"


# ---- the environment ----


def environment_layer(environment: Mapping[str, str]) -> Layer:
    """Read the variables that begin with SPILLWAY_. An empty one says nothing."""
    keys = {key.variable: key for key in every_key()}
    known = [*keys, CONFIG_VARIABLE, MODEL.variable, MODEL_OPTION.variable, ENGINE_OPTION.variable]
    values: dict[str, Given] = {}
    for name, text in environment.items():
        if not name.startswith(_PREFIX) or not text:
            continue
        if name in keys:
            values[keys[name].in_file] = _read_variable(keys[name], text)
        elif name not in known and not name.startswith(_NOT_OURS):
            # Other programs may have variables with our prefix: only what looks like a slip is refused.
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
            if near:
                raise ConfigurationError(f"{name} is no setting (did you mean {near[0]}?)")
    return _with_lists(
        values,
        models=_words(environment, MODEL.variable),
        model_options=_words(environment, MODEL_OPTION.variable),
        engine_options=_words(environment, ENGINE_OPTION.variable),
        origins=(MODEL.variable, MODEL_OPTION.variable, ENGINE_OPTION.variable),
    )


def _read_variable(key: Key, text: str) -> Given:
    try:
        return read_text(key.kind, text, key.variable)
    except ConfigurationError as error:
        if text.startswith("tcp://"):
            raise ConfigurationError(
                f"{error}. Kubernetes sets this variable where a service is named spillway: give the service another "
                f"name, or set enableServiceLinks: false in the pod"
            ) from None
        raise


def _words(environment: Mapping[str, str], variable: str) -> list[str]:
    """Split a variable as a shell would."""
    try:
        return shlex.split(environment.get(variable, ""))
    except ValueError as error:
        raise ConfigurationError(f"{variable} is {environment[variable]!r}; its quotes are wrong: {error}") from None


# ---- the command line ----


def flags_layer(given: Mapping[str, Any]) -> Layer:
    """Read what argparse has taken apart: text by the settings' flags, lists for the three that can be repeated."""
    values: dict[str, Given] = {}
    for key in every_key():
        text = given.get(key.flag)
        if text is not None:
            values[key.in_file] = Given(text, key.flag) if key.is_switch else read_text(key.kind, text, key.flag)
    return _with_lists(
        values,
        models=given.get(MODEL.flag, []),
        model_options=given.get(MODEL_OPTION.flag, []),
        engine_options=given.get(ENGINE_OPTION.flag, []),
        origins=(MODEL.flag, MODEL_OPTION.flag, ENGINE_OPTION.flag),
    )


def _with_lists(
    values: Mapping[str, Given],
    *,
    models: list[str],
    model_options: list[str],
    engine_options: list[str],
    origins: tuple[str, str, str],
) -> Layer:
    return Layer(
        values,
        engine_options_from_text(engine_options, origins[2]),
        models_from_text(models, origins[0]) if models else None,
        model_options_from_text(model_options, origins[1]),
    )
