"""The sampling rule in plain numpy, written to be read: slow, and what every implementation is compared with.

Only numbers are shared with the kernels, no code.
"""

from collections import Counter
from collections.abc import Sequence as Seq
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spillway_wire.sampling import NO_TOP_K, SamplingParams

Floats = NDArray[Any]
_LOW = 0xFFFFFFFF


def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Philox4x32-10 on Python integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & _LOW, (p0 >> 32) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + 0x9E3779B9) & _LOW, (k1 + 0xBB67AE85) & _LOW
    return c0, c1, c2, c3


def words(vocab_size: int, position: int, choice: int, seed: int) -> list[int]:
    """Return the 32 bits of each token."""
    key = (seed & _LOW, seed >> 32)
    groups = (philox4x32((i, position, choice, 0x53504C57), key) for i in range(-(-vocab_size // 4)))
    return [word for group in groups for word in group][:vocab_size]


def natural_log(x: Floats) -> Floats:
    """Return log(x), float64, by the operations that define the kernels' noise."""
    m, e = np.frexp(x)
    small = m < 0.7071067811865476
    m, e = np.where(small, m * 2.0, m), np.where(small, e - 1, e)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = np.full_like(s, 1.0 / 21.0)
    for odd in range(19, 0, -2):
        series = series * z + 1.0 / odd
    return e * 0.6931471805599453 + 2.0 * (s * series)


def weights(distances: Floats) -> NDArray[np.int64]:
    """Return floor(2**30 * exp(-d)) by the operations that define the kernels' weights."""
    f = np.float32
    power = np.minimum(distances * f(1.4426950408889634), f(31.0))
    whole = (power + f(0.5)).astype(np.int32)
    r = power - whole.astype(np.float32)
    z = r * r
    p = (f(1.0) + r * f(-0.693147)) + z * (
        (f(0.24022242) + r * f(-0.055507336)) + z * (f(0.009671513) + r * f(-0.0013264727))
    )
    shifted: NDArray[np.int64] = (p * f(2.0**30)).astype(np.int64) >> whole
    return shifted


def adjusted(
    logits: Floats, params: SamplingParams, prompt: Seq[int], output: Seq[int], eos_token_ids: Seq[int]
) -> Floats:
    """Apply bias, suppression and penalties; float32 in and out."""
    row = logits.astype(np.float32)
    for token, bias in params.logit_bias.items():
        row[token] += np.float32(bias)
    if len(output) < params.min_tokens:
        row[[*eos_token_ids, *params.stop_token_ids]] = -np.inf
    if params.penalised:
        repetition, counts = np.float32(max(params.repetition_penalty, 1e-30)), Counter(output)
        for token in {*prompt, *output}:
            scaled = row[token] / repetition if row[token] > 0 else row[token] * repetition
            row[token] = min(scaled, np.finfo(np.float32).max)
            row[token] -= np.float32(params.frequency_penalty) * np.float32(counts[token])
            row[token] -= np.float32(params.presence_penalty) if counts[token] else np.float32(0.0)
    return row


def kept(row: Floats, params: SamplingParams) -> tuple[list[int], Floats]:
    """Return the tokens that min-p, top-k and top-p keep, nearest first, and all distances."""
    distances = (row.max() - row) * np.float32(1.0 / max(params.temperature, 1e-6))
    order = [int(token) for token in np.lexsort((np.arange(row.size), distances))]
    if params.min_p > 0.0:
        furthest = np.float32(-natural_log(np.array(params.min_p)))
        order = [token for token in order if distances[token] <= furthest]
    if params.top_k != NO_TOP_K:
        order = order[: params.top_k]
    if params.top_p < 1.0:
        mass = weights(distances)[order].cumsum()
        needed = max(np.ceil(params.top_p * float(mass[-1])), 1)
        order = order[: int(np.searchsorted(mass, needed)) + 1]
    return order, distances


def unsound(row: Floats) -> bool:
    """Return whether a row must fail."""
    return bool(np.isnan(row).any() or row.max() in {np.inf, -np.inf})


def sample(
    logits: Floats,
    params: SamplingParams,
    *,
    choice: int = 0,
    prompt: Seq[int] = (),
    output: Seq[int] = (),
    eos_token_ids: Seq[int] = (),
) -> int | None:
    """Return the token that follows `prompt` and `output`, or None if the row fails."""
    if unsound(logits):
        return None
    with np.errstate(all="ignore"):  # overflow to Inf is part of the rule
        row = adjusted(logits, params, prompt, output, eos_token_ids)
        if unsound(row):
            return None
        if params.greedy:
            return int(row.argmax())
        order, distances = kept(row, params)
    u = (np.array(words(row.size, len(output), choice, params.seed), np.float64) + 0.5) * 2.0**-32
    scores = -natural_log(-natural_log(u)) - distances
    return min(order, key=lambda token: (-scores[token], token))


def logprobs(logits: Floats) -> tuple[Floats, list[int]]:
    """Return the log-probability of every token, float64, and the tokens from most to least likely."""
    row = logits.astype(np.float64)
    values = row - row.max() - np.log(np.exp(row - row.max()).sum())
    return values, [int(token) for token in np.lexsort((np.arange(row.size), -row))]
