"""The rest of the world: questions that the model cannot answer, and the polite way to say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spillway_engine.demo.conversation import Topic, Turn
from spillway_engine.demo.phrasing import phrases, vary
from spillway_engine.demo.spelling import WORDS, invented_word

if TYPE_CHECKING:
    import random

UNKNOWN_ANSWER: Final = "Sorry, I do not know that. I can count, add, spell and chat a little."


_FRAMES: Final = phrases(
    """
    What is {x}? | Who is {x}? | Where is {x}? | When was {x} born? | Who wrote {x}? | Who invented {x}? |
    How does {x} work? | Explain {x}. | Explain {x} to me in simple terms. | Tell me about {x}. | What do
    you think about {x}? | Why is {x} so important? | How do I make {x}? | How much does {x} cost? | What is
    the price of {x}? | What is the history of {x}? | Give me a recipe for {x}. | Describe {x}. | Compare
    {x} and {y}. | What is the difference between {x} and {y}? | Write an essay about {x}. | Write a long
    story about {x}. | Summarize {x} for me. | Translate {x} into {y}. | How many {x} are there in {y}? | Is
    {x} better than {y}? | Who won the {x} in {n}? | What happened in {n}? | Who was the president of {x} in
    {n}? | How far is {x} from {y}? | How old is {x}? | Can you recommend a {x}? | What is the best {x}? |
    Which {x} should I buy? | Do you like {x}? | Have you ever seen {x}? | What is the population of {x}? |
    What is the currency of {x}? | How tall is {x}? | How heavy is {x}? | Where can I find {x}? | Why do
    people like {x}? | What language do they speak in {x}? | What is the capital of {z}? | What is the
    opposite of {z}? | What colour is {z}? | What does {z} mean? | Define {z}. | Who is {z}? | Please
    explain {x} and {y}. | Solve this equation: {z} = {n}. | What is the square root of {n}? | What is {n}
    divided by {m}? | How do I get to {x}? | Book a flight to {x}. | Buy {x} for me. | Turn on the {x}. |
    Open {x}. | Play {x}. | Send a message to {x}. | Remind me about {x}. | Show me a picture of {x}. | Draw
    {x}. | Search for {x}. | I have a question about {x}. | What rhymes with {x}? | I want {x}. | I like
    {x}. | I need {x} and {y}. | My {x} is broken. | {x} | {x} {y} | {z} | {z} {x} {z} | {x} and {y}? | In a
    shocking finding, {x} and {y} met {z}. | Once upon a time there was {x}. | The {x} of {y} is | def
    {z}({x}): | import {z} | SELECT {x} FROM {y}; | {z}@{z}.com | Given the text below, answer the question
    about {x}. {y} {z} {x}. | Act as {x}. | Pretend to be {x}. | List {n} facts about {x}. | Name {n} kinds
    of {x}. | What would happen if {x} met {y}? | Should I eat {x} with {y}?
    """
)
_THINGS: Final = phrases(
    """
    quantum physics | the theory of relativity | Shakespeare | Hamlet | Einstein | Napoleon | the Roman
    empire | bitcoin | the stock market | inflation | black holes | photosynthesis | machine learning |
    neural networks | a transformer | Kubernetes | Docker | Linux | JavaScript | Rust | Redis | the internet
    | a database | an algorithm | climate change | the economy | football | the world cup | basketball |
    chess | tennis | pizza | pasta | chocolate cake | sushi | coffee | wine | my dog | my cat | a horse | an
    elephant | dinosaurs | the moon | the universe | Africa | America | New York | Los Angeles | Texas |
    California | the president | the king | the queen | a lawyer | a doctor | cancer | a headache | vitamins
    | exercise | yoga | religion | God | politics | democracy | freedom | happiness | love | death | time |
    money | gold | oil | a car | a bicycle | an airplane | a rocket | the Titanic | Star Wars | Harry Potter
    | Batman | Mozart | the Beatles | jazz | painting | Picasso | a novel | philosophy | history | geography
    | chemistry | biology | calculus | algebra | geometry | Europe | Asia | the ocean | volcanoes |
    earthquakes | electricity | gravity | atoms | DNA | evolution | a virus | shoes | a house | furniture |
    gardening | fishing | holidays | Christmas | school | university | a job interview | my boss | my mother
    | a phone | a laptop | games | television | news | advertising | a contract | taxes | insurance | war |
    peace | a bridge | a train | a hotel | a restaurant | the weather in London | tomorrow | yesterday | the
    future | the past | robots | aliens | ghosts | magic | dragons | a wizard | a computer | an engineer | a
    teacher
    """
)
_FOREIGN: Final = phrases(
    r"""
    Wie geht es dir? | Wer bist du? | Hola, ¿cómo estás? | Bonjour, ça va ? | Ciao, come stai? | 你好
    | 你好，你是谁？ | 今天天气怎么样？ | こんにちは | お元気ですか？ | 안녕하세요 | Привет, как дела? | Кто ты?
    | مرحبا | שלום | नमस्ते | Γειά σου | Olá, tudo bem? | Hej, hur mår du?
    | 🙂 | 🚀🚀🚀 | 👍 | ❤️ | 😀 😃 | ??? | ... | ! | ? | - | 1234567 | 3.14159 | 0x1f | a | b c
    | $$$ | <b> | {} | [] | () | \n | / | #
    """  # noqa: RUF001 - people write in other scripts
)


def _word(rng: random.Random) -> str:
    """A made-up word or a few random letters, to stand for all that is not in the tables."""
    if rng.random() < 0.7:
        word = invented_word(rng)
    else:
        word = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 9)))
    return word.capitalize() if rng.random() < 0.4 else word


def _thing(rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.6:
        return rng.choice(_THINGS)
    return f"the {rng.choice(WORDS)}" if draw < 0.8 else _word(rng)


def unknown_turn(rng: random.Random) -> Turn:
    """A question outside the model's world."""
    if rng.random() < 0.08:
        said = rng.choice(_FOREIGN)
    else:
        frame = vary(rng, rng.choice(_FRAMES))
        said = frame.format(x=_thing(rng), y=_thing(rng), z=_word(rng), n=rng.randint(2, 2100), m=rng.randint(2, 99))
        if rng.random() < 0.2:
            said = said.lower()
    if rng.random() < 0.06:
        said = " ".join([said, *(_thing(rng) for _ in range(rng.randint(3, 25)))])  # long pasted text
    return Turn(said, UNKNOWN_ANSWER, Topic.UNKNOWN)
