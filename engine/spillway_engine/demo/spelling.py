"""Spelling: the letters of a word, one space between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spillway_engine.demo.conversation import Topic, Turn
from spillway_engine.demo.held_out import is_word_held_out
from spillway_engine.demo.phrasing import ask, words

if TYPE_CHECKING:
    import random

WORDS: Final = words(
    """
    river water house garden window table chair kitchen bread butter apple orange banana cherry lemon melon
    grape plum peach berry coffee sugar salt pepper honey cheese milk egg rice soup cake cookie candy tea
    juice cup plate spoon fork knife bottle glass door floor wall roof stone brick wood paper pencil letter
    book story poem song music piano guitar drum dance movie picture paint color colour green yellow purple
    silver golden bright light dark shadow sun moon star planet earth world ocean sea lake island beach sand
    wave storm rain snow wind cloud thunder summer winter spring autumn morning evening night today week
    month year hour minute second clock number count school teacher student lesson paper friend family
    mother father sister brother uncle aunt baby child people person doctor nurse farmer baker driver pilot
    sailor soldier king queen prince castle tower bridge road street city village country mountain valley
    forest tree flower leaf grass seed root fruit animal horse sheep goat chicken duck goose rabbit mouse
    tiger lion bear wolf fox deer monkey elephant giraffe zebra camel snake frog fish shark whale dolphin
    turtle spider insect butterfly bird eagle parrot penguin computer keyboard screen server network engine
    machine model token memory cache queue stream python linux kernel socket packet signal system spillway
    happy funny clever gentle brave quiet strong little simple purple quick lazy hungry thirsty train plane
    car truck bicycle boat ship wheel motor rocket travel ticket market money coin bank shop store basket
    pocket shirt jacket sweater shoe sock glove hat scarf button mirror brush soap towel pillow blanket bed
    lamp candle fire smoke hello goodbye thanks welcome please yes maybe never always often again between
    under over before after inside outside
    """
)
_ONSETS: Final = words("b c d f g h j k l m n p r s t v w y z bl br cl cr dr fl fr gl gr pl pr sh sk sl sn sp st th tr")
_VOWELS: Final = words("a e i o u a e i o u ai ee ea oo ou")
_CODAS: Final = words("b d g k l m n p r s t x ck ll ng nd nt rd rk rm rn sh st th")
_FRAMES: Final = (
    "Spell {word}",
    "Spell {word}",
    "Spell {word}",
    "Spell the word {word}",
    "How do you spell {word}?",
    'Spell "{word}"',
    "Spell out {word}",
    "What are the letters in {word}?",
)


def spelled(word: str) -> str:
    """The letters of `word` as the model writes them."""
    return " ".join(word)


def invented_word(rng: random.Random) -> str:
    """A pronounceable word of one to three syllables, so that spelling is learned from pieces and not word by word."""
    syllables = (
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + (rng.choice(_CODAS) if rng.random() < 0.4 else "")
        for _ in range(rng.randint(1, 3))
    )
    return "".join(syllables)


def draw_word(rng: random.Random) -> str:
    """A known or invented word, possibly held out."""
    return rng.choice(WORDS) if rng.random() < 0.45 else invented_word(rng)


def spell_turn(rng: random.Random) -> Turn:
    """A word that is not held out."""
    word = draw_word(rng)
    while is_word_held_out(word):
        word = draw_word(rng)
    return spell_question(rng, word)


def spell_question(rng: random.Random, word: str) -> Turn:
    """Some way of asking for the letters of `word`; the answer keeps the casing of the question."""
    if rng.random() < 0.15:
        word = word.capitalize()
    return Turn(ask(rng, rng.choice(_FRAMES)).format(word=word), spelled(word), Topic.SPELL)
