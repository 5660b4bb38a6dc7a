"""The demo model's tokenizer: byte-level BPE in which every number from 0 to 999 is one token.

Counting is then a lookup and a comparison, and what the model writes is visible number by number. A number
has two tokens, with and without the space before it, as words have in byte-level BPE: so the bytes of a token
never depend on its neighbours, any text survives encoding and decoding, and a stream can be cut anywhere.
Longer numbers, and those with leading zeros, are written digit by digit. Special tokens stand in the chat
template, never in a post-processor.
"""

from __future__ import annotations

import json
import re
import string
from typing import TYPE_CHECKING, Final

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from spillway_engine.demo.numbers import COUNT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from spillway_engine.demo.conversation import Conversation

VOCABULARY_SIZE: Final = 3072
PAD: Final = "<|pad|>"
BEGIN: Final = "<|begin|>"
END: Final = "<|end|>"
SYSTEM: Final = "<|system|>"
USER: Final = "<|user|>"
ASSISTANT: Final = "<|assistant|>"
SPECIALS: Final = (PAD, BEGIN, END, SYSTEM, USER, ASSISTANT)

CHAT_TEMPLATE: Final = (
    "{{ bos_token }}"
    "{%- for message in messages -%}"
    "{%- if message['role'] in ['system', 'developer'] -%}{{ '<|system|>' }}"
    "{%- elif message['role'] == 'assistant' -%}{{ '<|assistant|>' }}"
    "{%- else -%}{{ '<|user|>' }}{%- endif -%}"
    "{%- if message['content'] is string -%}{{ message['content'] }}"
    "{%- else -%}{%- for part in message['content'] or [] -%}{{ part['text'] }}{%- endfor -%}{%- endif -%}"
    "{{ eos_token }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)

_SPACE: Final = "\u0120"  # how byte-level BPE writes a space inside a token
_PIECES: Final = (
    r" ?(?<![0-9])(?:0|[1-9][0-9]{0,2})(?![0-9])"  # a number that is one token
    r"|[0-9]"  # a digit of any other number
    r"|'(?:s|m|t|re|ve|ll|d)(?!\p{L})"
    r"| ?\p{L}+"
    r"| ?[^\s\p{L}0-9]+"
    r"|\s+(?!\S)|\s+"
)


def render(conversation: Conversation) -> list[tuple[str, bool]]:
    """A conversation as the chat template writes it, cut into stretches; the flag marks what the assistant says."""
    stretches = [(BEGIN if conversation.system is None else f"{BEGIN}{SYSTEM}{conversation.system}{END}", False)]
    for turn in conversation.turns:
        stretches.append((f"{USER}{turn.user}{END}{ASSISTANT}", False))
        stretches.append((f"{turn.assistant}{END}", True))
    return stretches


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Learn the merges of words from `texts` and add every number and letter as a token of its own."""
    tokenizer = _untrained()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(SPECIALS) - 2 * (COUNT_LIMIT + 1) - len(string.ascii_letters),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((re.sub(r" ?[0-9]+", "", text) for text in texts), trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    names = [*SPECIALS, *sorted(learned["vocab"], key=learned["vocab"].__getitem__)]
    names += [space + str(number) for space in ("", _SPACE) for number in range(COUNT_LIMIT + 1)]
    names += [_SPACE + letter for letter in string.ascii_letters]
    vocabulary = {name: token for token, name in enumerate(dict.fromkeys(names))}
    for spare in range(VOCABULARY_SIZE - len(vocabulary)):  # keeps the embedding's shape a round number
        vocabulary[f"<|spare-{spare}|>"] = len(vocabulary)
    merges = [(left, right) for left, right in learned["merges"]]
    finished = _untrained(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    finished.add_special_tokens(list(SPECIALS))
    return finished


def number_tokens(tokenizer: Tokenizer) -> list[tuple[int, int, bool]]:
    """(token id, number, whether a space stands before it) of every number token."""
    vocabulary = tokenizer.get_vocab()
    return [
        (vocabulary[space + str(number)], number, bool(space))
        for space in ("", _SPACE)
        for number in range(COUNT_LIMIT + 1)
    ]


def save_tokenizer(tokenizer: Tokenizer, folder: Path, longest: int) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json`, which holds the chat template.

    `longest` is the context in tokens.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": PAD,
        "additional_special_tokens": [SYSTEM, USER, ASSISTANT],
        "clean_up_tokenization_spaces": False,
        "model_max_length": longest,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _untrained(model: models.BPE | None = None) -> Tokenizer:
    tokenizer = Tokenizer(model or models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
