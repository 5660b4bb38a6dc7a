"""What the generator writes: a conversation, and the topic of each of its turns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Topic(StrEnum):
    """What a turn is about; the evaluation reports accuracy by topic."""

    COUNT = "count"
    SUM = "sum"
    DIFFERENCE = "difference"
    PRODUCT = "product"
    ORDER = "order"
    SPELL = "spell"
    FACT = "fact"
    TALK = "talk"
    NAME = "name"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and the one right answer to it."""

    user: str
    assistant: str
    topic: Topic


@dataclass(frozen=True, slots=True)
class Conversation:
    """An optional system message and the turns that follow it, oldest first."""

    system: str | None
    turns: tuple[Turn, ...]
