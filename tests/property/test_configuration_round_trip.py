"""Every setting, given through any source, arrives as it was given; and the later source wins."""

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from spillway.configuration import configure, merge
from spillway.configuration.flags import add_flags
from spillway.configuration.keys import Key, every_key
from spillway.configuration.layers import environment_layer, file_layer, flags_layer
from spillway.configuration.values import Kind, Number, Perhaps, Several, Switch, Text, Whole
from spillway.settings import Settings

PLAIN = {
    "telemetry.content": st.sampled_from(["*", "acme", "team-2"]),
    "telemetry.baggage_keys": st.sampled_from(["user.segment", "team", "a-b_c"]),
    "telemetry.currency": st.sampled_from(["EUR", "USD", "CHF"]),
    "device": st.sampled_from(["auto", "cpu", "cuda"]),
    "slo.webhooks": st.sampled_from(["https://pager.example.com/a?b=c", "http://h:1/"]),
    "slo.external_url": st.sampled_from(["https://ops.example.com", "http://[::1]:8001"]),
    "slo.objectives": st.sampled_from(["auto", "standard", "laptop"]),
    "redis": st.sampled_from(["redis://h:1/2", "rediss://u:p@[::1]:7/0", "unix:///run/r.sock?db=1"]),
    "network.host": st.sampled_from(["127.0.0.1", "localhost", "::1", "127.5.5.5"]),
    "network.ops_host": st.sampled_from(["127.0.0.1", "0.0.0.0", "::", "ops.example.com"]),  # noqa: S104 - it is read, not bound
    "admission.anonymous_tier": st.sampled_from(["gold", "silver", "bronze"]),
    "auth.jwt_algorithms": st.sampled_from(["RS256", "ES384", "EdDSA"]),
    "network.trusted_proxies": st.sampled_from(["10.0.0.0/8", "::1", "192.168.3.4", "2001:db8::/32"]),
}
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs", "Cc"]), min_size=1)
PATHS = TEXTS.map(lambda text: "/" + text)
TOGETHER = {"network.tls_certificate", "network.tls_key", "network.port", "network.ops_port"}
"""Settings that others must fit: the unit tests have them."""
ISSUER = {"auth.jwt_issuer", "auth.jwt_audience", "auth.jwt_jwks"}
NEVER_EMPTY = {"auth.jwt_algorithms"}
BACKOFF = {"restart.backoff_base_s", "restart.backoff_cap_s"}
KEYS = [key for key in every_key() if key.in_file not in TOGETHER | BACKOFF | ISSUER]


def values(kind: Kind, place: str) -> st.SearchStrategy[Any]:
    match kind:
        case Whole(low, high):
            return st.integers(int(low), int(high))
        case Number(low, high):
            return st.floats(low, high, allow_nan=False, allow_infinity=False)
        case Switch():
            return st.booleans()
        case Text():
            return PLAIN.get(place, PATHS)
        case Several(item):
            # An empty variable says nothing: where nothing is not the default, it cannot be given that way.
            return st.lists(values(item, place), min_size=int(place in NEVER_EMPTY), max_size=3).map(tuple)
        case Perhaps(inner):
            return st.none() | values(inner, place)
    raise TypeError(kind)


def given_settings() -> st.SearchStrategy[dict[str, Any]]:
    optional = {key.in_file: values(key.kind, key.in_file) for key in KEYS}
    optional["generation.top_k"] = optional["generation.top_k"].filter(bool)  # 0 is refused, as engines refuse it
    return st.fixed_dictionaries({}, optional=optional)


def of(everything: Settings, place: str) -> Any:
    group, _, name = place.rpartition(".")
    return getattr(getattr(everything, group) if group else everything, name)


def by_place() -> dict[str, Key]:
    return {key.in_file: key for key in KEYS}


def in_environment(chosen: dict[str, Any]) -> dict[str, str]:
    keys = by_place()
    texts = {keys[place].variable: keys[place].kind.to_text(value) for place, value in chosen.items()}
    return {name: text for name, text in texts.items() if text}  # an empty variable says nothing


def on_command_line(chosen: dict[str, Any]) -> list[str]:
    words = []
    for place, value in chosen.items():
        key = by_place()[place]
        if key.is_switch:
            words.append(key.flag if value else "--no-" + key.flag[2:])
        else:
            words.append(f"{key.flag}={key.kind.to_text(value)}")
    return words


def in_toml(chosen: dict[str, Any]) -> str:
    def literal(value: Any) -> str:
        if value is None:
            return '"none"'
        # JSON's strings, numbers, booleans and lists are TOML's, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

    lines = [f"{place} = {literal(value)}" for place, value in chosen.items()]
    return "\n".join(lines) + "\n"


def parsed(words: list[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser, explain=False)
    return vars(parser.parse_args(words))


@settings(deadline=None)
@given(given_settings())
def test_the_environment_gives_every_setting_as_it_was_written(chosen: dict[str, Any]) -> None:
    everything = merge([environment_layer(in_environment(chosen))])

    assert {place: of(everything, place) for place in chosen} == chosen


@settings(deadline=None)
@given(given_settings())
def test_flags_give_every_setting_as_it_was_written(chosen: dict[str, Any]) -> None:
    everything = merge([flags_layer(parsed(on_command_line(chosen)))])

    assert {place: of(everything, place) for place in chosen} == chosen


@settings(deadline=None)
@given(chosen=given_settings())
def test_the_file_gives_every_setting_as_it_was_written(chosen: dict[str, Any], tmp_path_factory: Any) -> None:
    file = tmp_path_factory.getbasetemp() / "round_trip.toml"
    file.write_text(in_toml(chosen), encoding="utf-8")

    everything = merge([file_layer(file)])

    assert {place: of(everything, place) for place in chosen} == chosen


@settings(deadline=None)
@given(low=given_settings(), middle=given_settings(), high=given_settings())
def test_flags_win_over_the_environment_and_that_over_the_file(
    low: dict[str, Any], middle: dict[str, Any], high: dict[str, Any], tmp_path_factory: Any
) -> None:
    folder: Path = tmp_path_factory.getbasetemp()
    (folder / "spillway.toml").write_text(in_toml(low), encoding="utf-8")
    environment = in_environment(middle)
    said = {place: value for place, value in middle.items() if by_place()[place].variable in environment}

    everything = configure(parsed(on_command_line(high)), environment, folder)

    expected = low | said | high
    assert {place: of(everything, place) for place in expected} == expected
    untouched = {key.in_file for key in KEYS} - expected.keys()
    assert all(of(everything, place) == of(Settings(), place) for place in untouched)


@settings(deadline=None)
@given(given_settings())
def test_settings_survive_the_file_that_children_read_them_from(chosen: dict[str, Any]) -> None:
    everything = merge([environment_layer(in_environment(chosen))])

    assert msgspec.json.decode(msgspec.json.encode(everything), type=Settings) == everything


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,12}", fullmatch=True).filter(
    lambda name: not name.endswith(".engine")
)
MODELS = TEXTS.filter(lambda text: text == text.strip())
OPTIONS = st.dictionaries(
    st.from_regex(r"x_[a-z0-9_]{0,8}", fullmatch=True),
    st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False),
    max_size=3,
)


@st.composite
def served_models(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    models: list[dict[str, Any]] = []
    while names:
        name = names.pop()
        aliases = tuple(names.pop() for _ in range(min(draw(st.integers(0, 2)), len(names))))
        models.append(
            {
                "name": name,
                "model": draw(MODELS),
                "engines": draw(st.none() | st.integers(1, 9)),
                "aliases": aliases,
                "engine": draw(OPTIONS),
            }
        )
    return models


def model_words(models: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    named, options = [], []
    for model in models:
        name = model["name"]
        named.append(f"{name}={model['model']}")
        if model["engines"] is not None:
            options.append(f"{name}.engines={model['engines']}")
        if model["aliases"]:
            options.append(f"{name}.aliases={','.join(model['aliases'])}")
        options += [f"{name}.engine.{key}={json.dumps(value)}" for key, value in model["engine"].items()]
    return named, options


@settings(deadline=None)
@given(models=served_models(), engine=OPTIONS)
def test_models_and_engine_options_arrive_from_every_source(
    models: list[dict[str, Any]], engine: dict[str, Any], tmp_path_factory: Any
) -> None:
    named, options = model_words(models)
    engine_words = [f"{key}={json.dumps(value)}" for key, value in engine.items()]
    environment = {
        "SPILLWAY_MODEL": shlex.join(named),
        "SPILLWAY_MODEL_OPTION": shlex.join(options),
        "SPILLWAY_ENGINE_OPTION": shlex.join(engine_words),
    }
    lines = [f"engine.{key} = {json.dumps(value)}" for key, value in engine.items()]
    for model in models:
        place = f"models.{json.dumps(model['name'])}"
        lines.append(f"{place}.model = {json.dumps(model['model'], ensure_ascii=False)}".replace("\x7f", "\\u007f"))
        if model["engines"] is not None:
            lines.append(f"{place}.engines = {model['engines']}")
        lines.append(f"{place}.aliases = {json.dumps(model['aliases'])}")
        lines += [f"{place}.engine.{key} = {json.dumps(value)}" for key, value in model["engine"].items()]
    file = tmp_path_factory.getbasetemp() / "models.toml"
    file.write_text("\n".join(lines), encoding="utf-8")

    flags = {"--model": named, "--model-option": options, "--engine-option": engine_words}
    for layer in (flags_layer(flags), environment_layer(environment), file_layer(file)):
        everything = merge([layer])
        assert [_as_dict(model) for model in everything.models] == models
        assert everything.engine == engine


def _as_dict(model: Any) -> dict[str, Any]:
    return {name: getattr(model, name) for name in ("name", "model", "engines", "aliases", "engine")}
