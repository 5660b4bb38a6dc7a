"""Small facts that the model knows by heart, as tables and as questions about them."""

from __future__ import annotations

from string import ascii_lowercase
from typing import TYPE_CHECKING, Final

from spillway_engine.demo.conversation import Topic, Turn
from spillway_engine.demo.phrasing import vary

if TYPE_CHECKING:
    import random
    from collections.abc import Callable


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """`a:b, c:d` as pairs."""
    entries = (entry.strip().split(":") for entry in text.split(","))
    return tuple((left, " ".join(right.split())) for left, right in entries)


CAPITALS: Final = _pairs(
    """
    France:Paris, Germany:Berlin, Italy:Rome, Spain:Madrid, Portugal:Lisbon, Austria:Vienna,
    Switzerland:Bern, Belgium:Brussels, Poland:Warsaw, Hungary:Budapest, Greece:Athens, Sweden:Stockholm,
    Norway:Oslo, Denmark:Copenhagen, Finland:Helsinki, Ireland:Dublin, England:London, Scotland:Edinburgh,
    Russia:Moscow, Ukraine:Kyiv, Turkey:Ankara, Egypt:Cairo, Kenya:Nairobi, Nigeria:Abuja, Morocco:Rabat,
    Ghana:Accra, China:Beijing, Japan:Tokyo, Korea:Seoul, India:Delhi, Nepal:Kathmandu, Thailand:Bangkok,
    Vietnam:Hanoi, Australia:Canberra, Canada:Ottawa, Mexico:Mexico City, Cuba:Havana, Brazil:Brasilia,
    Peru:Lima, Chile:Santiago, Argentina:Buenos Aires, Colombia:Bogota
    """
)
OPPOSITES: Final = _pairs(
    """
    hot:cold, big:small, fast:slow, up:down, left:right, day:night, black:white, good:bad, old:young,
    happy:sad, open:closed, full:empty, high:low, long:short, light:dark, hard:soft, wet:dry, clean:dirty,
    rich:poor, strong:weak, early:late, near:far, loud:quiet, in:out, on:off, yes:no, true:false,
    first:last, heavy:light, thick:thin, wide:narrow, sweet:sour, new:old, begin:end, push:pull, win:lose,
    love:hate, question:answer, north:south, east:west, cold:hot, small:big, slow:fast, down:up, right:left,
    night:day, white:black, bad:good, sad:happy, empty:full, low:high, short:long, dark:light, soft:hard,
    dry:wet, poor:rich, weak:strong, late:early, far:near, quiet:loud
    """
)
COLOURS: Final = _pairs(
    """
    sky:blue, sea:blue, grass:green, snow:white, blood:red, sun:yellow, banana:yellow, coal:black,
    milk:white, leaf:green, tomato:red, carrot:orange, lemon:yellow, night:black, chocolate:brown,
    strawberry:red, frog:green, cloud:white, fire truck:red, pumpkin:orange, elephant:grey, moon:white,
    rose:red, lime:green
    """
)
SOUNDS: Final = _pairs(
    """
    cat:meow, dog:woof, cow:moo, sheep:baa, duck:quack, pig:oink, horse:neigh, lion:roar, bee:buzz,
    snake:hiss, mouse:squeak, owl:hoot, frog:ribbit, rooster:cock-a-doodle-doo, bird:tweet
    """
)
LEGS: Final = _pairs(
    "cat:4, dog:4, cow:4, horse:4, bird:2, duck:2, spider:8, ant:6, bee:6, snake:0, fish:0, human:2, crab:10, frog:4"
)
BABIES: Final = _pairs(
    "dog:puppy, cat:kitten, cow:calf, horse:foal, sheep:lamb, duck:duckling, bear:cub, frog:tadpole, chicken:chick"
)
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
SINGLE: Final = tuple(
    (question.strip(), answer.format(days=" ".join(DAYS), months=" ".join(MONTHS), letters=" ".join(ascii_lowercase)))
    for question, answer in (
        line.split(" => ")
        for line in """
    How many days are in a week? => There are 7 days in a week.
    How many months are in a year? => There are 12 months in a year.
    How many days are in a year? => There are 365 days in a year.
    How many hours are in a day? => There are 24 hours in a day.
    How many minutes are in an hour? => There are 60 minutes in an hour.
    How many seconds are in a minute? => There are 60 seconds in a minute.
    How many letters are in the alphabet? => There are 26 letters in the alphabet.
    How many planets are there? => There are 8 planets.
    How many continents are there? => There are 7 continents.
    How many legs does a table have? => A table has 4 legs.
    How many wheels does a car have? => A car has 4 wheels.
    How many wheels does a bicycle have? => A bicycle has 2 wheels.
    How many fingers do you have? => None. But most humans have 10.
    What is the largest ocean? => The Pacific is the largest ocean.
    What is the largest planet? => Jupiter is the largest planet.
    What is the largest animal? => The blue whale is the largest animal.
    What is the fastest animal? => The cheetah is fast on land.
    What is the highest mountain? => Mount Everest is the highest mountain.
    Which planet do we live on? => We live on Earth.
    What is the red planet? => Mars is the red planet.
    What is frozen water? => Frozen water is ice.
    What is water made of? => Water is made of hydrogen and oxygen.
    What do bees make? => Bees make honey.
    What do cows eat? => Cows eat grass.
    Where do fish live? => Fish live in water.
    Where does the sun rise? => The sun rises in the east.
    Where does the sun set? => The sun sets in the west.
    When does the sun rise? => The sun rises in the morning.
    Is the earth flat? => No. The earth is round.
    Is the sun a star? => Yes. The sun is a star.
    Is fire hot? => Yes. Fire is hot.
    Is ice cold? => Yes. Ice is cold.
    How many sides does a triangle have? => A triangle has 3 sides.
    How many sides does a square have? => A square has 4 sides.
    What is the first month of the year? => January is the first month.
    What is the last month of the year? => December is the last month.
    What is the first day of the week? => Monday is the first day.
    What is the first letter of the alphabet? => A is the first letter.
    What is the last letter of the alphabet? => Z is the last letter.
    How many seasons are there? => There are 4 seasons.
    Name the seasons => Spring summer autumn and winter.
    What are the seasons? => Spring summer autumn and winter.
    Name the days of the week => {days}.
    What are the days of the week? => {days}.
    Name the months => {months}.
    What are the months of the year? => {months}.
    Say the alphabet => {letters}
    What is the alphabet? => {letters}
    Name a colour => Blue.
    Name a color => Blue.
    Name an animal => Cat.
    Name a fruit => Apple.
    Name three colours => Red green and blue.
    Name three colors => Red green and blue.
    Name three fruits => Apple pear and plum.
    Name three animals => Cat dog and cow.
    Name a city => Paris.
    Name a country => France.
    Name a planet => Mars.
    Name a day => Monday.
    Name a month => May.
    """.strip().splitlines()
    )
)


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _capital(rng: random.Random) -> tuple[str, str]:
    country, city = rng.choice(CAPITALS)
    if rng.random() < 0.2:
        return f"{city} is the capital of which country?", f"{city} is the capital of {country}."
    frame = rng.choice(
        (
            "What is the capital of {0}?",
            "What is the capital of {0}?",
            "Capital of {0}?",
            "Tell me the capital of {0}.",
            "What is {0}'s capital?",
        )
    )
    return frame.format(country), f"The capital of {country} is {city}."


def _opposite(rng: random.Random) -> tuple[str, str]:
    word, opposite = rng.choice(OPPOSITES)
    frame = rng.choice(
        (
            "What is the opposite of {0}?",
            "What is the opposite of {0}?",
            "Opposite of {0}?",
            "Tell me the opposite of {0}.",
        )
    )
    return frame.format(word), f"The opposite of {word} is {opposite}."


def _colour(rng: random.Random) -> tuple[str, str]:
    thing, colour = rng.choice(COLOURS)
    the = (
        rng.choice(("the", "a"))
        if thing not in {"sky", "sea", "grass", "snow", "blood", "coal", "milk", "chocolate"}
        else "the"
    )
    the = the if the == "the" else _article(thing).split()[0]
    frame = rng.choice(
        ("What colour is {0}?", "What color is {0}?", "Which colour is {0}?", "What is the colour of {0}?")
    )
    return frame.format(f"{the} {thing}"), f"The {thing} is {colour}."


def _sound(rng: random.Random) -> tuple[str, str]:
    animal, sound = rng.choice(SOUNDS)
    frame = rng.choice(("What does {0} say?", "What sound does {0} make?"))
    animal = _article(animal)
    return frame.format(rng.choice((animal, f"the {animal.split()[1]}"))), f"{animal.capitalize()} says {sound}."


def _legs(rng: random.Random) -> tuple[str, str]:
    animal, legs = rng.choice(LEGS)
    return f"How many legs does {_article(animal)} have?", f"{_article(animal).capitalize()} has {legs} legs."


def _baby(rng: random.Random) -> tuple[str, str]:
    animal, baby = rng.choice(BABIES)
    frame = rng.choice(("What is a baby {0} called?", "What do you call a baby {0}?", "What is a young {0} called?"))
    return frame.format(animal), f"A baby {animal} is called {_article(baby)}."


def _cycle(rng: random.Random) -> tuple[str, str]:
    """The neighbour of a day or a month."""
    kind, names = rng.choice((("day", DAYS), ("month", MONTHS)))
    place = rng.randrange(len(names))
    if rng.random() < 0.5:
        frame = rng.choice(("What comes after {0}?", "Which {1} comes after {0}?", "What {1} is after {0}?"))
        return frame.format(names[place], kind), f"After {names[place]} comes {names[(place + 1) % len(names)]}."
    frame = rng.choice(("What comes before {0}?", "Which {1} comes before {0}?", "What {1} is before {0}?"))
    return frame.format(names[place], kind), f"Before {names[place]} comes {names[place - 1]}."


def _letter(rng: random.Random) -> tuple[str, str]:
    place = rng.randrange(25)
    letter, following = (chr(97 + place), chr(98 + place))
    return f"Which letter comes after {letter}?", f"After {letter} comes {following}."


def _single(rng: random.Random) -> tuple[str, str]:
    return rng.choice(SINGLE)


_KINDS: Final[tuple[Callable[[random.Random], tuple[str, str]], ...]] = (
    _capital, _capital, _capital, _opposite, _opposite, _opposite, _colour, _colour, _sound, _legs, _baby,
    _cycle, _cycle, _letter, _single, _single, _single, _single,
)  # fmt: skip


def fact_turn(rng: random.Random) -> Turn:
    """A question about one of the tables above."""
    question, answer = rng.choice(_KINDS)(rng)
    return Turn(vary(rng, question), answer, Topic.FACT)
