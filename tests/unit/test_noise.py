"""The noise: published Philox vectors, the layout of the counter, and the logarithm that turns bits into scores."""

import math
import sys

import numpy as np
import pytest

from spillway_engine.sampling import reference
from spillway_engine.sampling.noise import GUMBEL_MAX, GUMBEL_MIN, fill_words, gumbel, natural_log, philox4x32
from spillway_engine.sampling.weights import REACH

ONES = 0xFFFFFFFF
KNOWN_ANSWERS = [  # Random123's kat_vectors, philox4x32 with 10 rounds
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(
    counter: tuple[int, int, int, int], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    c0, c1, c2, c3 = (np.uint64(word) for word in counter)
    k0, k1 = (np.uint64(word) for word in key)
    assert tuple(int(word) for word in philox4x32(c0, c1, c2, c3, k0, k1)) == expected
    assert reference.philox4x32(counter, key) == expected


@pytest.mark.parametrize(
    ("position", "choice", "seed"), [(0, 0, 0), (7, 3, 1), (2**31 - 1, 127, 2**64 - 1), (1, 0, 1 << 32)]
)
def test_words_of_any_part_of_the_vocabulary_equal_the_reference(position: int, choice: int, seed: int) -> None:
    expected = reference.words(1024, position, choice, seed)
    for first, size in ((0, 1024), (128, 128), (640, 4)):
        words = np.empty(size, np.uint32)
        fill_words(words, first, position, np.uint32(choice), np.uint32(seed & ONES), np.uint32(seed >> 32))
        assert words.tolist() == expected[first : first + size]


def test_words_differ_in_every_coordinate() -> None:
    base = reference.words(8, 5, 1, 9)
    others = [reference.words(8, 6, 1, 9), reference.words(8, 5, 2, 9), reference.words(8, 5, 1, 9 + (1 << 32))]
    assert len({*base, *(word for other in others for word in other)}) == 32


def test_natural_log_is_within_two_units_in_the_last_place_and_equals_the_reference() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [
            rng.random(2000),
            np.exp(rng.uniform(-700, 700, 2000)),
            1.0 - rng.random(500) * 1e-9,
            [1.0, sys.float_info.min],
        ]
    )
    ours = [natural_log(float(value)) for value in values]
    assert ours == reference.natural_log(values).tolist()
    for value, log in zip(values.tolist(), ours, strict=True):
        assert abs(log - math.log(value)) <= 2 * math.ulp(math.log(value))


def test_gumbel_noise_is_finite_grows_with_the_word_and_has_the_stated_bounds() -> None:
    words = np.unique(np.random.default_rng(1).integers(0, 2**32, 5000, dtype=np.uint32))
    noise = [gumbel(word) for word in words]
    assert noise == sorted(noise)
    assert gumbel(np.uint32(0)) == GUMBEL_MIN
    assert gumbel(np.uint32(ONES)) == GUMBEL_MAX
    assert GUMBEL_MAX - GUMBEL_MIN < REACH


def test_gumbel_noise_has_the_distribution_of_its_name() -> None:
    words = np.empty(1 << 16, np.uint32)
    fill_words(words, 0, 0, np.uint32(0), np.uint32(0), np.uint32(0))
    noise = np.array([gumbel(word) for word in words])
    assert abs(noise.mean() - 0.5772156649) < 0.02  # Euler's constant; 4 standard errors
    assert abs(noise.var() - math.pi**2 / 6) < 0.08
