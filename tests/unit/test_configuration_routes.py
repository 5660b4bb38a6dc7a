"""`[[routes]]` in spillway.toml: what is read, and what is refused at start, by name."""

from pathlib import Path

import msgspec
import pytest

from spillway.configuration import configure
from spillway.errors import ConfigurationError
from spillway.settings import RouteRule, Settings

MODELS = """
[models.chat]
model = "demo"
aliases = ["gpt"]
[models.long]
model = "demo"
"""


def read(tmp_path: Path, rules: str) -> Settings:
    (tmp_path / "spillway.toml").write_text(MODELS + rules)
    return configure({}, {}, tmp_path)


def test_rules_are_read_in_their_order_and_reach_the_gateways(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        """
        [[routes]]
        to = "long"
        model = "gpt"
        tenant = "acme"
        tier = "flex"
        priority_at_least = -5
        priority_at_most = 5
        prompt_tokens_at_least = 100
        prompt_tokens_at_most = 100
        header = { X-Team = "red and blue" }
        [[routes]]
        to = "chat"
        """,
    )
    first = RouteRule(
        to="long",
        model="gpt",
        tenant="acme",
        tier="flex",
        priority_at_least=-5,
        priority_at_most=5,
        prompt_tokens_at_least=100,
        prompt_tokens_at_most=100,
        header={"x-team": "red and blue"},
    )
    assert settings.routes == (first, RouteRule(to="chat"))
    assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ('to = "lang"', "routes[0].to is 'lang', which is not the name of a served model (did you mean long?)"),
        ('to = "x"', "routes[0].to is 'x', which is not the name of a served model; served are: chat, long"),
        ('to = "gpt"', "routes[0].to is 'gpt', which is not the name of a served model (it is an alias: write 'chat')"),
        ('to = "long"\nmodel = "y"', "routes[0].model is 'y', which no request can name"),
        ('model = "chat"', "spillway.toml: routes[0] lacks 'to'"),
        ('to = "long"\nteir = "flex"', "spillway.toml: routes[0].teir is no part of a rule; there are: to, model"),
        ('to = "long"\ntenant = "A"', "routes[0].tenant is 'A'; it must be a tenant's name: at most 64 small letters"),
        ('to = "long"\ntier = "auto"', "routes[0].tier is 'auto'; it must be default, flex or priority"),
        ('to = "long"\npriority_at_most = 101', "priority_at_most is 101; it must be a whole number, from -100 to 100"),
        ('to = "long"\nprompt_tokens_at_most = 0', "prompt_tokens_at_most is 0; it must be a whole number, from 1"),
        (
            'to = "long"\npriority_at_least = 2\npriority_at_most = 1',
            "spillway.toml: routes[0].priority_at_least is 2; it must be at most priority_at_most (1)",
        ),
        (
            'to = "long"\nprompt_tokens_at_least = 9\nprompt_tokens_at_most = 8',
            "spillway.toml: routes[0].prompt_tokens_at_least is 9; it must be at most prompt_tokens_at_most (8)",
        ),
        ('to = "long"\nheader = "x"', "routes[0].header is 'x'; it must be a table of header names"),
        ('to = "long"\nheader = { "x y" = "1" }', "it must be a table of header names"),
        ('to = "long"\nheader = { x-a = 1 }', "it must be a table of header names"),
        ('to = "long"\nheader = { x-a = " 1" }', "it must be a table of header names"),
        ('to = "long"\nheader = { x-a = "1", X-A = "2" }', "it must be a table of header names, each once"),
    ],
)
def test_a_wrong_rule_is_told_by_its_place(tmp_path: Path, rule: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, "[[routes]]\n" + rule)
    assert told in str(caught.value)


def test_rules_are_a_list_of_tables(tmp_path: Path) -> None:
    for wrong in ("[routes]\nto = 'long'", "[routes.long]\ntier = 'flex'"):
        with pytest.raises(ConfigurationError, match=r"must be tables, each written \[\[routes\]\]"):
            read(tmp_path, wrong)
    (tmp_path / "spillway.toml").write_text("routes = [1]")
    with pytest.raises(ConfigurationError, match=r"routes\[0\] is 1; it must be a table"):
        configure({}, {}, tmp_path)


def test_a_rule_for_a_model_that_a_flag_took_away_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spillway.toml").write_text(MODELS + '[[routes]]\nto = "long"\n')
    with pytest.raises(ConfigurationError, match="'long', which is not the name of a served model; served are: chat"):
        configure({"--model": ["chat=demo"]}, {}, tmp_path)
