"""Counter-based noise: each token at each output position of each choice has 32 bits of its own.

They are Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11) with ::

    key      seed, low 32 bits   seed, high 32 bits
    counter  token id // 4       output position      choice      DOMAIN
    result   one word for each of the four tokens of the counter

so nothing has to be remembered between steps or moved between engines, and every device can compute the same words.
Gumbel noise g = -log(-log(u)) with u = (word + 1/2) / 2**32 lies between `GUMBEL_MIN` and `GUMBEL_MAX`.
"""

import math

import numpy as np

from spillway_engine.compiled import Array, compiled, inlined

DOMAIN = np.uint32(0x53504C57)
"""Fourth word of the counter: keeps sampling apart from any other use of the same seed."""

_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)

_LN_2 = 0.6931471805599453
_SQRT_HALF = 0.7071067811865476


@inlined
def philox4x32(
    c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, k0: np.uint64, k1: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Return the four words of one counter under one key.

    All are 32-bit numbers held in 64 bits, as the products want them: half as many instructions as widening each time.
    """
    for _ in range(10):
        p0 = (c0 & _LOW) * _MULTIPLIER_0
        p1 = (c2 & _LOW) * _MULTIPLIER_1
        c0 = (p1 >> _HALF) ^ c1 ^ k0
        c2 = (p0 >> _HALF) ^ c3 ^ k1
        c1 = p1 & _LOW
        c3 = p0 & _LOW
        k0 = (k0 + _WEYL_0) & _LOW
        k1 = (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3


@compiled
def fill_words(
    words: Array, first_token: int, position: int, choice: np.uint32, seed_low: np.uint32, seed_high: np.uint32
) -> None:
    """Write the words of tokens `first_token`, … into `words` (uint32); both count in whole fours."""
    first = np.uint64(first_token // 4)
    c1, c2, c3 = np.uint64(position), np.uint64(choice), np.uint64(DOMAIN)
    k0, k1 = np.uint64(seed_low), np.uint64(seed_high)
    for i in range(words.size // 4):
        a, b, c, d = philox4x32(first + np.uint64(i), c1, c2, c3, k0, k1)
        words[4 * i] = np.uint32(a)
        words[4 * i + 1] = np.uint32(b)
        words[4 * i + 2] = np.uint32(c)
        words[4 * i + 3] = np.uint32(d)


@compiled
def natural_log(x: float) -> float:
    """Return log(x) of a positive finite float64 within 2 ulp, by the same operations on every machine.

    The C library's differs between versions, and its last bit can decide which token wins. Here: x = m * 2**e with
    m in [sqrt(1/2), sqrt(2)), and log(m) = 2 artanh(s) with s = (m - 1) / (m + 1), |s| < 0.172, as a power series.
    """
    m, e = math.frexp(x)
    if m < _SQRT_HALF:
        m = m * 2.0
        e = e - 1
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = 1.0 / 21.0
    series = series * z + 1.0 / 19.0
    series = series * z + 1.0 / 17.0
    series = series * z + 1.0 / 15.0
    series = series * z + 1.0 / 13.0
    series = series * z + 1.0 / 11.0
    series = series * z + 1.0 / 9.0
    series = series * z + 1.0 / 7.0
    series = series * z + 1.0 / 5.0
    series = series * z + 1.0 / 3.0
    series = series * z + 1.0
    return e * _LN_2 + 2.0 * (s * series)


@compiled
def gumbel(word: np.uint32) -> float:
    """Return the standard Gumbel noise of a word, in float64; it grows with the word."""
    u = (float(word) + 0.5) * 2.0**-32
    return -natural_log(-natural_log(u))


GUMBEL_MIN = -3.129994640884816
"""`gumbel(0)`."""
GUMBEL_MAX = 22.873856958419985
"""`gumbel(2**32 - 1)`."""
