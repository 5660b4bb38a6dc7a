"""A wrong setting is refused with its name as it was written, what was given and what is allowed."""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from spillway.configuration import configure
from spillway.configuration.flags import add_flags
from spillway.configuration.keys import documentation, every_key
from spillway.errors import ConfigurationError
from spillway.settings import ModelSettings, Settings

TAKEN_BY_ARGPARSE = {"--help", "--version"}


def refusal(tmp_path: Path, *, file: str = "", environment: dict[str, str] | None = None, **flags: Any) -> str:
    if file:
        (tmp_path / "spillway.toml").write_text(file)
    given = {"--" + name.replace("_", "-"): value for name, value in flags.items()}
    with pytest.raises(ConfigurationError) as caught:
        configure(given, environment or {}, tmp_path)
    assert caught.value.exit_status == 2
    return str(caught.value)


def test_every_setting_has_one_flag_one_variable_and_one_place() -> None:
    keys = every_key()

    for names in ([key.flag for key in keys], [key.variable for key in keys], [key.in_file for key in keys]):
        assert [name for name, count in Counter(names).items() if count > 1] == []
    assert not TAKEN_BY_ARGPARSE & {key.flag for key in keys}
    assert {"--port", "--ops-port", "--drain-timeout-s", "--engines"} <= {key.flag for key in keys}


def test_every_default_is_allowed() -> None:
    for key in every_key():
        assert key.kind.from_text(key.kind.to_text(key.default)) == key.default, key.in_file


def test_help_explains_settings_from_their_source() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, explain=True)

    text = " ".join(parser.format_help().split())

    assert "An idle stream gets a comment so often. Allowed: a number, from 0.1 to 604800. Default: 10.0." in text
    assert "[SPILLWAY_KEEP_ALIVE_S]" in text
    assert documentation()["drain.grace_s"].startswith("Not ready, but still taking work")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"port": "http"}, "--port is 'http'; it must be a whole number, from 0 to 65535"),
        ({"port": "65536"}, "--port is '65536'; it must be a whole number, from 0 to 65535"),
        ({"port": "-1"}, "--port is '-1'; it must be a whole number, from 0 to 65535"),
        ({"gateways": "0"}, "--gateways is '0'; it must be a whole number, from 1 to 256"),
        ({"generation_temperature": "nan"}, "--generation-temperature is 'nan'; it must be a number, from 0 to 2"),
        ({"request_timeout_s": "inf"}, "--request-timeout-s is 'inf'; it must be a number, from 0.001 to 604800"),
        ({"device": "tpu"}, "--device is 'tpu'; it must be auto, cpu or cuda"),
        ({"redis": "localhost"}, "--redis is 'localhost'; it must be a URL that starts with redis://"),
        ({"trusted_proxies": "10.0.0.1,x"}, "--trusted-proxies is '10.0.0.1,x'; it must be an address or a network"),
        ({"state_dir": ""}, "--state-dir is ''; it must be a text that is not empty"),
    ],
)
def test_a_wrong_flag_is_told_with_its_name_what_was_given_and_what_is_allowed(
    tmp_path: Path, given: dict[str, str], told: str
) -> None:
    flags: dict[str, Any] = dict(given)
    assert refusal(tmp_path, **flags).startswith(told)


def test_a_wrong_variable_is_told_by_its_name(tmp_path: Path) -> None:
    told = refusal(tmp_path, environment={"SPILLWAY_OPEN": "perhaps"})

    assert told == "SPILLWAY_OPEN is 'perhaps'; it must be true or false"


def test_a_port_set_by_kubernetes_is_told_as_such(tmp_path: Path) -> None:
    told = refusal(tmp_path, environment={"SPILLWAY_PORT": "tcp://10.3.2.1:8000"})

    assert "enableServiceLinks" in told


def test_a_variable_that_looks_like_a_slip_is_refused_and_a_foreign_one_is_not(tmp_path: Path) -> None:
    told = refusal(tmp_path, environment={"SPILLWAY_ENGINE": "3"})
    assert told == "SPILLWAY_ENGINE is no setting (did you mean SPILLWAY_ENGINES?)"

    foreign = {"SPILLWAY_SERVICE_HOST": "10.0.0.1", "SPILLWAY_PORT_8000_TCP": "x", "SPILLWAY_DRILL_SEED": "1"}
    assert configure({}, foreign, tmp_path / "nowhere") == Settings()


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("[network]\nport = '8000'", "spillway.toml: network.port is '8000'; it must be a whole number"),
        ("[network]\nport = true", "spillway.toml: network.port is True; it must be a whole number"),
        ("[network]\nopen = 1", "spillway.toml: network.open is 1; it must be true or false"),
        ("[network]\nprot = 1", "spillway.toml: network.prot is no setting (did you mean network.port?)"),
        ("port = 1", "spillway.toml: port is no setting (did you mean network.port?)"),
        ("gateway = 1", "spillway.toml: gateway is no setting (did you mean gateways?)"),
        ("network = 1", "spillway.toml: network is 1; it must be a table, written [network]"),
        ("[drian]\ngrace_s = 1", "spillway.toml: drian is no setting (did you mean drain?)"),
        ("[models.chat]\nengines = 0", "spillway.toml: models.chat.engines is 0; it must be a whole number"),
        ("[models.chat]\nengnies = 1", "spillway.toml: models.chat.engnies is no setting of a model; there are: model"),
        ("[models.llama-3.1]\nmodel = 'x'", "spillway.toml: models.llama-3.1 is no setting of a model"),
        ("[models.chat.engine]\nmodel = 'x'", "spillway.toml: models.chat.engine: model is no engine option"),
        (
            "[engine]\ndevice = 'cpu'",
            "spillway.toml: engine: device is no engine option that can be chosen: the setting",
        ),
        ("[engine]\nthreads = [1]", "spillway.toml: engine.threads is [1]; it must be a number, a text"),
        ("[network", "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_told_by_the_place_in_it(tmp_path: Path, file: str, told: str) -> None:
    assert told in refusal(tmp_path, file=file)


def test_a_wrong_value_is_refused_also_where_a_later_source_overrides_it(tmp_path: Path) -> None:
    assert "spillway.toml: gateways" in refusal(tmp_path, file="gateways = -1", gateways="2")


def test_a_configuration_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path, config="missing.toml")
    assert "cannot be read" in refusal(tmp_path, environment={"SPILLWAY_CONFIG": "missing.toml"})
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    assert "it is not UTF-8" in refusal(tmp_path, config="binary.toml")


def test_others_can_reach_the_api_only_if_that_was_said_aloud(tmp_path: Path) -> None:
    assert "--host is '0.0.0.0'" in refusal(tmp_path, host="0.0.0.0")  # noqa: S104 - it is read, not bound
    assert "SPILLWAY_HOST is '::'" in refusal(tmp_path, environment={"SPILLWAY_HOST": "::"})

    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        assert configure({"--host": host}, {}, tmp_path).network.host == host
    assert configure({"--host": "0.0.0.0", "--open": True}, {}, tmp_path).network.open  # noqa: S104 - it is read, not bound
    assert configure({"--ops-host": "0.0.0.0"}, {}, tmp_path).network.ops_host == "0.0.0.0"  # noqa: S104 - it is read, not bound


def test_both_ports_on_one_host_must_differ_unless_they_are_free_ones(tmp_path: Path) -> None:
    assert "--ops-port is 9000, as --port is" in refusal(tmp_path, port="9000", ops_port="9000")

    assert configure({"--port": "0", "--ops-port": "0"}, {}, tmp_path).network.ops_port == 0
    apart = {"--port": "9000", "--ops-port": "9000", "--host": "127.0.0.2"}
    assert configure(apart, {}, tmp_path).network.port == 9000


def test_tls_needs_certificate_and_key_that_fit(tmp_path: Path) -> None:
    missing, empty = str(tmp_path / "missing.pem"), tmp_path / "empty.pem"
    empty.write_text("")

    alone = refusal(tmp_path, tls_certificate=str(empty))
    assert alone == "--tls-certificate is given without network.tls_key; TLS needs both, or neither"
    unread = refusal(tmp_path, tls_certificate=str(empty), tls_key=missing)
    assert unread == f"--tls-key is {missing!r}; it must be a file that can be read (No such file or directory)"
    assert "both in PEM" in refusal(tmp_path, tls_certificate=str(empty), tls_key=str(empty))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"generation_top_k": "0"}, "--generation-top-k is 0; it must be -1 (all) or at least 1"),
        ({"generation_repetition_penalty": "10.5"}, "--generation-repetition-penalty is '10.5'; it must be a number"),
    ],
)
def test_a_default_that_engines_would_refuse_with_every_request_is_refused_at_start(
    tmp_path: Path, given: dict[str, str], told: str
) -> None:
    flags: dict[str, Any] = dict(given)
    assert refusal(tmp_path, **flags).startswith(told)
    assert configure({"--generation-top-p": "0"}, {}, tmp_path).generation.top_p == 0


def test_debug_belongs_to_the_command_line_alone(tmp_path: Path) -> None:
    assert refusal(tmp_path, file="debug = true") == "spillway.toml: debug is no setting"


def test_backoff_cannot_begin_above_its_cap(tmp_path: Path) -> None:
    assert "--restart-backoff-base-s is 40" in refusal(tmp_path, restart_backoff_base_s="40")


# ---- models ----


def models(tmp_path: Path, *words: str, **more: Any) -> tuple[ModelSettings, ...]:
    return configure({"--model": list(words), **more}, {}, tmp_path).models


def test_a_model_is_served_under_the_name_given_or_its_own(tmp_path: Path) -> None:
    (tmp_path / "llama-3.1").mkdir()

    served = models(tmp_path, f"chat={tmp_path}/llama-3.1", f"{tmp_path}/llama-3.1/", "meta-llama/Llama-3", "demo")

    assert [(model.name, Path(model.model).name) for model in served] == [
        ("chat", "llama-3.1"),
        ("llama-3.1", "llama-3.1"),
        ("meta-llama/Llama-3", "Llama-3"),
        ("demo", "demo"),
    ]


def test_flags_decide_which_models_are_served_and_the_file_says_more_of_them(tmp_path: Path) -> None:
    (tmp_path / "spillway.toml").write_text(
        """
        [models.demo]
        engines = 3
        [models.chat]
        model = "/models/old"
        engines = 2
        aliases = ["gpt"]
        engine.dtype = "float32"
        """
    )
    assert [model.name for model in configure({}, {}, tmp_path).models] == ["demo", "chat"]

    options = {"--model-option": ["chat.engine.max-model-len=512", "chat.engines=5"]}
    (chat,) = models(tmp_path, "chat=/models/new", **options)

    assert (chat.model, chat.engines, chat.aliases) == ("/models/new", 5, ("gpt",))
    assert chat.engine == {"dtype": "float32", "max_model_len": 512}


def test_wrong_models_are_told(tmp_path: Path) -> None:
    assert "--model is 'chat='" in refusal(tmp_path, model=["chat="])
    assert "names 'a' twice" in refusal(tmp_path, model=["a=/x", "a=/y"])
    assert "called 'b'" in refusal(tmp_path, model=["a=/x", "b=/y"], model_option=["a.aliases=b"])
    unknown = refusal(tmp_path, model=["chat=/x"], model_option=["chta.engines=2"])
    assert unknown == "an option is given for the model 'chta', which is not served (did you mean chat?)"
    assert "--model-option is 'chat.engines'" in refusal(tmp_path, model=["chat=/x"], model_option=["chat.engines"])
    assert "at most 128 letters" in refusal(tmp_path, model=["chat=/x"], model_option=["chat.aliases=a b"])
    assert "--engine-option is 'dtype'" in refusal(tmp_path, engine_option=["dtype"])
    assert "--engine-option: 'Bad Key' is no engine option" in refusal(tmp_path, engine_option=["Bad Key=1"])
    assert "its quotes are wrong" in refusal(tmp_path, environment={"SPILLWAY_MODEL": "'open"})
