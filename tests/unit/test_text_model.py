"""Tokenizer, chat templates and end-of-sequence tokens of a model folder."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers.utils.chat_template_utils import render_jinja_template

from spillway_text.errors import InvalidCheckpointError, InvalidPromptError, ModelNotFoundError
from spillway_text.text import ModelText, read_eos_token_ids

_MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be <brief> & kind."},
    {"role": "user", "content": "Grüße 😀"},
]

_TEMPLATE = """{{ bos_token }}
{%- for message in messages %}
    {%- if loop.index > 2 %}{% break %}{% endif %}
    {% set ns = namespace(role=message.role) %}
    <|{{ ns.role }}|>{% generation %}{{ message['content'] | trim }}{% endgeneration %}{{ {'a': '<é>'} | tojson }}
{%- endfor %}
{%- if tools is not none %}{{ tools | tojson(indent=2) }}{% endif %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "</s>": 1} | {letter: index + 2 for index, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    _config(tmp_path, chat_template=_TEMPLATE)
    return tmp_path


def _config(folder: Path, **keys: object) -> None:
    content = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", **keys}
    (folder / "tokenizer_config.json").write_text(json.dumps(content), encoding="utf-8")


def test_text_goes_in_and_comes_out(folder: Path) -> None:
    text = ModelText(folder)
    ids = text.encode("Grüße 😀")
    assert text.decode([0, *ids, 1]) == "Grüße 😀"
    assert text.decode([0, *ids, 1], skip_special_tokens=False) == "<s>Grüße 😀</s>"
    assert text.vocab_size == 258


@pytest.mark.parametrize("tools", [None, [{"name": "f", "description": "<ü>"}]])
def test_a_template_renders_as_transformers_renders_it(folder: Path, tools: list[dict[str, str]] | None) -> None:
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    expected, _ = render_jinja_template(
        [_MESSAGES], tools=tools, chat_template=_TEMPLATE, add_generation_prompt=True, **special
    )
    text = ModelText(folder)
    assert text.render_chat(_MESSAGES, tools=tools) == expected[0]
    assert text.decode(text.encode_chat(_MESSAGES, tools=tools), skip_special_tokens=False) == expected[0]


def test_a_template_file_goes_before_the_configurations(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ strftime_now('%Y') | int > 2000 }}", encoding="utf-8")
    assert ModelText(folder).render_chat(_MESSAGES) == "True"


def test_of_several_named_templates_the_default_is_taken(folder: Path) -> None:
    _config(folder, chat_template=[{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}])
    assert ModelText(folder).render_chat(_MESSAGES) == "d"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{% set ns = namespace() %}{% set ns.__class__ = 1 %}", "__class__"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ messages[7].content }}", "no element 7"),
    ],
)
def test_a_refusal_and_an_escape_from_the_sandbox_fail_the_request(folder: Path, template: str, words: str) -> None:
    _config(folder, chat_template=template)
    with pytest.raises(InvalidPromptError, match=words):
        ModelText(folder).render_chat(_MESSAGES)


def test_without_a_template_messages_are_refused(folder: Path) -> None:
    _config(folder)
    with pytest.raises(InvalidPromptError, match="has no chat template"):
        ModelText(folder).render_chat(_MESSAGES)


def test_a_broken_template_and_a_broken_tokenizer_are_the_checkpoints_fault(folder: Path) -> None:
    _config(folder, chat_template="{% for %}")
    with pytest.raises(InvalidCheckpointError, match="the chat template is broken"):
        ModelText(folder).render_chat(_MESSAGES)
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InvalidCheckpointError, match=r"tokenizer\.json is not a tokenizer"):
        ModelText(folder)


def test_without_a_tokenizer_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"tokenizer\.json does not exist"):
        ModelText(tmp_path)


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        ({"eos_token_id": [2, 7]}, {"eos_token_id": 3}, (2, 7)),
        ({}, {"eos_token_id": 3}, (3,)),
        (None, {"eos_token_id": None}, ()),
        ({"eos_token_id": 0}, None, (0,)),
    ],
)
def test_end_of_sequence_tokens_are_the_generation_configurations_first(
    tmp_path: Path, generation: dict[str, Any] | None, config: dict[str, Any] | None, expected: tuple[int, ...]
) -> None:
    for name, content in (("generation_config.json", generation), ("config.json", config)):
        if content is not None:
            (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    assert read_eos_token_ids(tmp_path) == expected


def test_an_ill_typed_end_of_sequence_token_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"eos_token_id": "</s>"}', encoding="utf-8")
    with pytest.raises(InvalidCheckpointError, match="'eos_token_id' is '</s>'"):
        read_eos_token_ids(tmp_path)
