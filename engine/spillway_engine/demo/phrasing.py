"""People do not type like books: the same question in other casing, punctuation and politeness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random

_CONTRACTIONS: Final = (
    ("What is ", "What's "),
    ("what is ", "what's "),
    ("Who is ", "Who's "),
    ("How is ", "How's "),
    ("I am ", "I'm "),
    ("You are ", "You're "),
    ("you are ", "you're "),
    ("That is ", "That's "),
    ("do not ", "don't "),
)


def words(text: str) -> tuple[str, ...]:
    """The words of a text, for tables that are read as text."""
    return tuple(text.split())


def phrases(text: str) -> tuple[str, ...]:
    """The phrases between the bars of a text, wherever its lines break."""
    return tuple(" ".join(phrase.split()) for phrase in text.split("|"))


def contract(rng: random.Random, text: str) -> str:
    """Now and then "What's" for "What is" and the like."""
    for long, short in _CONTRACTIONS:
        if long in text and rng.random() < 0.3:
            text = text.replace(long, short, 1)
    return text


def vary(rng: random.Random, text: str) -> str:
    """`text` as some person might have typed it.

    Fields in braces stay as they are, so that a frame can be varied before it is filled.
    """
    text = contract(rng, text)
    draw = rng.random()
    if draw < 0.30:
        text = text.lower()
    elif draw < 0.45:
        text = text[:1].lower() + text[1:]
    elif draw < 0.48 and "{" not in text:  # the name of a field would change too
        text = text.upper()
    draw = rng.random()
    if draw < 0.40:
        text = text.rstrip(".?!")
    elif draw < 0.47:
        text = text.rstrip(".?!") + rng.choice(("!", "!!", "...", " ?", " !", "??", "."))
    return text


def ask(rng: random.Random, request: str) -> str:
    """A request ("Count from 1 to 5"), plain or wrapped in politeness, then varied."""
    draw = rng.random()
    lowered = request[:1].lower() + request[1:]
    if draw < 0.08:
        request = f"Please {lowered}."
    elif draw < 0.16:
        request = f"{request}, please."
    elif draw < 0.24:
        request = f"{rng.choice(('Can', 'Could', 'Would'))} you {lowered}?"
    elif draw < 0.28:
        request = f"{rng.choice(('Can', 'Could'))} you please {lowered}?"
    elif draw < 0.32:
        request = f"{rng.choice(('Hi', 'Hello', 'Hey', 'Ok', 'Now', 'Great', 'Thanks', 'And now'))}, {lowered}."
    elif draw < 0.36:
        request = f"{rng.choice(('I want you to', 'I would like you to', 'Now', 'Then'))} {lowered}."
    elif draw < 0.56:
        request = f"{request}."
    return vary(rng, request)
