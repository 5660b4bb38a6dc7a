"""Text in and out of a model: tokenizer, chat template, end-of-sequence tokens.

It needs only `tokenizers` and `jinja2`. Templates come from strangers, so they run in jinja2's sandbox.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from spillway_text.bound import longest_token
from spillway_text.detokenize import Detokenizer
from spillway_text.errors import InvalidCheckpointError, InvalidPromptError, ModelNotFoundError
from spillway_text.fields import Fields

Message = Mapping[str, Any]
"""One message of a conversation: `role` and `content`, and whatever else the model's template knows."""

_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_MANY_TOKENS = 1024


class ModelText:
    """The text side of a model folder. Raises `ModelNotFoundError` if the folder has no tokenizer.json."""

    def __init__(self, path: Path) -> None:
        self._path = path
        file = path / "tokenizer.json"
        if not file.is_file():
            raise ModelNotFoundError(f"{file} does not exist: this model can be given token ids but no text")
        try:
            self._tokenizer: Tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception for any fault in the file
            raise InvalidCheckpointError(f"{file} is not a tokenizer: {error}") from error
        self.eos_token_ids = read_eos_token_ids(path)

    @property
    def vocab_size(self) -> int:
        """How many tokens the tokenizer knows; the model's own vocabulary can be padded beyond that."""
        return int(self._tokenizer.get_vocab_size())

    @cached_property
    def longest_token(self) -> int | None:
        """The most characters of a text that one token stands for; None if not known (see `bound`)."""
        return longest_token(self._tokenizer)

    @property
    def has_chat_template(self) -> bool:
        """Whether the model knows how to render a conversation."""
        return self._template is not None

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of a text. A rendered chat already has its special tokens: pass False for those."""
        return list(self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Return the text of token ids. Other threads go on meanwhile if there are many of them."""
        if len(token_ids) > _MANY_TOKENS:  # only this form lets go of the interpreter's lock
            return str(self._tokenizer.decode_batch([list(token_ids)], skip_special_tokens=skip_special_tokens)[0])
        return str(self._tokenizer.decode(token_ids, skip_special_tokens=skip_special_tokens))

    def detokenizer(self, *, after: Sequence[int] = (), skip_special_tokens: bool = True) -> Detokenizer:
        """Return a decoder for one stream of tokens, which goes on from the text of `after` or begins one."""
        return Detokenizer(partial(self.decode, skip_special_tokens=skip_special_tokens), after)

    def render_chat(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True, **variables: object
    ) -> str:
        """Return the prompt that the model's chat template makes of a conversation.

        `variables` are passed on to the template (`tools`, `enable_thinking`, …). Raises `InvalidPromptError` with
        the template's own words if it refuses the conversation or if the model has no template.
        """
        if self._template is None:
            raise InvalidPromptError(f"{self._path} has no chat template: send a prompt instead of messages")
        context = self._special_tokens | {"tools": None, "documents": None} | variables
        try:
            return self._template.render(
                messages=list(messages), add_generation_prompt=add_generation_prompt, **context
            )
        except jinja2.TemplateError as error:
            raise InvalidPromptError(f"the chat template refused the messages: {error}") from error

    def encode_chat(self, messages: Sequence[Message], **variables: Any) -> list[int]:
        """Return the token ids of a conversation's prompt."""
        return self.encode(self.render_chat(messages, **variables), add_special_tokens=False)

    @cached_property
    def _config(self) -> Fields:
        file = self._path / "tokenizer_config.json"
        return Fields.of_file(file) if file.is_file() else Fields(str(file), {})

    @cached_property
    def _special_tokens(self) -> dict[str, object]:
        tokens = {key: self._config.raw(key) for key in _SPECIAL_TOKENS}
        return {
            key: token["content"] if isinstance(token, dict) else token
            for key, token in tokens.items()
            if token is not None
        }

    @cached_property
    def _template(self) -> jinja2.Template | None:
        source = self._template_source()
        if source is None:
            return None
        try:
            template = _environment().from_string(source)
        except jinja2.TemplateError as error:
            raise InvalidCheckpointError(f"{self._path}: the chat template is broken: {error}") from error
        template.globals = dict(template.globals)  # copied for each prompt, and from a chain that takes its time
        return template

    def _template_source(self) -> str | None:
        file = self._path / "chat_template.jinja"
        if file.is_file():
            return file.read_text(encoding="utf-8")
        template = self._config.raw("chat_template")
        if isinstance(template, list):  # several named ones; `default` is for plain conversations
            named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
            template = named.get("default")
        return template if isinstance(template, str) else None


def read_eos_token_ids(path: Path) -> tuple[int, ...]:
    """Return the tokens that end an answer: generation_config.json's, else config.json's, else none."""
    for name in ("generation_config.json", "config.json"):
        file = path / name
        value = Fields.of_file(file).raw("eos_token_id") if file.is_file() else None
        if value is None:
            continue
        ids = value if isinstance(value, list) else [value]
        if not all(isinstance(token, int) and not isinstance(token, bool) and token >= 0 for token in ids):
            raise InvalidCheckpointError(f"{file}: key 'eos_token_id' is {value!r}; a token id or a list was expected")
        return tuple(ids)
    return ()


class _GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}` marks an answer for training; here it only renders what it encloses."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _Namespace(jinja2.utils.Namespace):
    """jinja2's, but for names that Python itself looks at (`__class__` …), which a template must not set."""

    def __setitem__(self, name: str, value: object) -> None:
        if name.startswith("_"):
            raise SecurityError(f"a chat template may not set {name!r}")
        super().__setitem__(name, value)


def _environment() -> ImmutableSandboxedEnvironment:
    # what transformers sets up for templates, so that those written for it render the same here
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": _strftime_now,
        "namespace": _Namespace,
    }
    return environment


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # jinja2's own filter escapes for HTML
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().astimezone().strftime(pattern)
