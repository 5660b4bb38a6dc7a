"""Elementwise and per-row arithmetic: each result depends on its own row alone, in one fixed order of operations.

Loops are written for LLVM's vectoriser, which keeps IEEE results: they run over slices from 0, for an index that
might be negative (numba counts those from the end) keeps a loop scalar; sums run in sixteen lanes that are added as a
tree, spelled out, so that no flag decides their order.
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from spillway_engine.compiled import Array, compiled, inlined
from spillway_engine.cpu.bits import bits_of_float, float_of_bits, float_of_half_bits, half_bits_of_float
from spillway_engine.cpu.vector import LANES

_LOG2_E = np.float32(1.44269504088896341)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
_ROUND = np.float32(12582912.0)  # 1.5 * 2**23: adding and taking it away rounds to the nearest integer
_LOWEST = np.float32(-87.0)  # below, exp is denormal: slow, and nothing that a sum would notice
_HIGHEST = np.float32(88.0)
_BIAS = np.int32(127)
_MANTISSA = np.int32(23)


@inlined
def exp(x: Any) -> Any:
    """Return e**x in float32, within 2 ulp; exactly 1 at 0, exactly 0 below -87, NaN for NaN.

    Cephes' expf (Moshier): reduce by powers of two, then a polynomial of degree six.
    """
    above = _LOWEST if x < _LOWEST else x  # comparisons that a NaN passes through
    clamped = _HIGHEST if above > _HIGHEST else above
    power = (clamped * _LOG2_E + _ROUND) - _ROUND
    r = clamped - power * _LN2_HIGH - power * _LN2_LOW
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1.0)
    scale = float_of_bits((np.int32(power) + _BIAS) << _MANTISSA)
    return np.float32(0.0) if x < _LOWEST else p * scale


@inlined
def silu(x: Any) -> Any:
    """Return x * sigmoid(x) in float32."""
    return x / (np.float32(1.0) + exp(-x))


@compiled
def sum_of_lanes(lanes: Array) -> Any:
    """Add sixteen partial sums as a tree."""
    a = (lanes[0] + lanes[8]) + (lanes[4] + lanes[12])
    b = (lanes[1] + lanes[9]) + (lanes[5] + lanes[13])
    c = (lanes[2] + lanes[10]) + (lanes[6] + lanes[14])
    d = (lanes[3] + lanes[11]) + (lanes[7] + lanes[15])
    return (a + c) + (b + d)


@compiled
def inverse_rms(row: Array, epsilon: Any, lanes: Array) -> Any:
    """Return 1 / sqrt(mean(row²) + epsilon); `lanes` is scratch of sixteen floats."""
    length = row.size
    whole = length - length % LANES
    lanes[:] = np.float32(0.0)
    for i in range(0, whole, LANES):
        part = row[i : i + LANES]
        for lane in range(LANES):
            lanes[lane] += part[lane] * part[lane]
    rest = row[whole:]
    for lane in range(rest.size):
        lanes[lane] += rest[lane] * rest[lane]
    return np.float32(1.0) / np.sqrt(sum_of_lanes(lanes) / np.float32(length) + epsilon)


@compiled
def normalise(out: Array, row: Array, weight: Array, epsilon: Any, lanes: Array) -> None:
    """Write row / rms(row) * weight to `out`, which may be `row` or a storage array (Zhang and Sennrich, 2019)."""
    factor = inverse_rms(row, epsilon, lanes)
    for i in range(row.size):
        write_stored(out, i, row[i] * factor * weight[i])


@compiled
def add(row: Array, other: Array) -> None:
    """Add `other` to `row` in place."""
    for i in range(row.size):
        row[i] += other[i]


@compiled
def scale_into(out: Array, row: Array, factor: Any) -> None:
    """Write row * factor to `out`, which may be `row` or a storage array."""
    for i in range(row.size):
        write_stored(out, i, row[i] * factor)


@compiled
def gate(out: Array, gates: Array, ups: Array) -> None:
    """Write silu(gates) * ups to `out`, which may be a storage array."""
    for i in range(out.size):
        write_stored(out, i, silu(gates[i]) * ups[i])


@compiled
def rotate(low: Array, high: Array, cosines: Array, sines: Array) -> None:
    """Apply the rotary embedding to the two halves of a head in place (Su et al., 2021; halves as in GPT-NeoX)."""
    for d in range(low.size):
        a, b = low[d], high[d]
        low[d] = a * cosines[d] - b * sines[d]
        high[d] = b * cosines[d] + a * sines[d]


@compiled
def widen(out: Array, stored: Array) -> None:
    """Read a slice of a storage array as float32."""
    for i in range(out.size):
        out[i] = read_stored(stored, i)


@compiled
def narrow(stored: Array, row: Array) -> None:
    """Write `row` to a slice of a storage array, whose stride is free."""
    for i in range(row.size):
        write_stored(stored, i, row[i])


def read_stored(array, index):  # type: ignore[no-untyped-def]
    """Return element `index` of a flat storage array (see `vector.STORAGE`) as float32. Compiled code only."""
    raise TypeError("read_stored is for compiled code")


def write_stored(array, index, value):  # type: ignore[no-untyped-def]
    """Round `value` to the storage format, ties to even, and write it. Compiled code only."""
    raise TypeError("write_stored is for compiled code")


@overload(read_stored)
def _read_stored(array, index):  # type: ignore[no-untyped-def]
    if array.dtype == types.uint16:
        return lambda array, index: float_of_bits(np.int32(array[index]) << np.int32(16))
    if array.dtype == types.int16:
        return lambda array, index: float_of_half_bits(array[index])
    return lambda array, index: array[index]


@overload(write_stored)
def _write_stored(array, index, value):  # type: ignore[no-untyped-def]
    if array.dtype == types.uint16:

        def write_bfloat16(array, index, value):  # type: ignore[no-untyped-def]
            bits = bits_of_float(value)
            odd = np.int32(np.int32(bits >> np.int32(16)) & np.int32(1))
            rounded = np.int32(bits + np.int32(odd + np.int32(0x7FFF)))
            # false for NaN, which rounding could turn into infinity
            kept = rounded if value == value else bits  # noqa: PLR0124
            array[index] = np.uint16(np.int32(kept >> np.int32(16)))

        return write_bfloat16
    if array.dtype == types.int16:

        def write_float16(array, index, value):  # type: ignore[no-untyped-def]
            array[index] = half_bits_of_float(value)

        return write_float16

    def write_float32(array, index, value):  # type: ignore[no-untyped-def]
        array[index] = value

    return write_float32
