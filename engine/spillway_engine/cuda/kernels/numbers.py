"""Numbers that must be the CPU's to the bit: noise, its logarithm, and the weights of distances.

`spillway_engine.sampling` defines them (`noise`, `weights`); `sampling.reference` is what both are compared with.
Kernels that use them are compiled without contraction, so that float64 rounds as IEEE 754 says, operation by operation.
"""

import triton
import triton.language as tl


@triton.jit
def noise_words(first, position, choice, seed, SIZE: tl.constexpr):
    """Return 32 random bits for each of the tokens `first` to `first + SIZE - 1`, as uint32; both are whole fours."""
    counter = (first // 4 + tl.arange(0, SIZE // 4)).to(tl.uint32)
    # a counter word for each lane: the generator wants its four words in one shape
    zero = counter ^ counter
    domain = zero + 0x53504C57  # sampling.noise.DOMAIN
    a, b, c, d = tl.philox(seed, counter, zero + position.to(tl.uint32), zero + choice, domain)
    return tl.interleave(tl.interleave(a, c), tl.interleave(b, d))


@triton.jit
def natural_log(x):
    """Return log(x) of a positive normal float64 by the operations of `sampling.noise.natural_log`."""
    bits = x.to(tl.int64, bitcast=True)
    power = ((bits >> 52) & 0x7FF) - 1022
    m = ((bits & 0xFFFFFFFFFFFFF) | 0x3FE0000000000000).to(tl.float64, bitcast=True)
    small = m < 0.7071067811865476
    m = tl.where(small, m * 2.0, m)
    power = tl.where(small, power - 1, power)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = z * (1.0 / 21.0) + 1.0 / 19.0
    series = series * z + 1.0 / 17.0
    series = series * z + 1.0 / 15.0
    series = series * z + 1.0 / 13.0
    series = series * z + 1.0 / 11.0
    series = series * z + 1.0 / 9.0
    series = series * z + 1.0 / 7.0
    series = series * z + 1.0 / 5.0
    series = series * z + 1.0 / 3.0
    series = series * z + 1.0
    return power.to(tl.float64) * 0.6931471805599453 + 2.0 * (s * series)


@triton.jit
def gumbel(words):
    """Return standard Gumbel noise, float64."""
    u = (words.to(tl.float64) + 0.5) * 2.3283064365386963e-10  # 2**-32
    return -natural_log(-natural_log(u))


@triton.jit
def _scaled_fraction(r):
    """Return 2**(30 - r) for |r| <= 1/2, int32."""
    z = r * r
    p = (1.0 + r * -0.693147) + z * ((0.24022242 + r * -0.055507336) + z * (0.009671513 + r * -0.0013264727))
    return (p * 1073741824.0).to(tl.int32)


@triton.jit
def weight(distance):
    """Return floor(2**30 * exp(-distance)), int32, of a float32 distance, infinity included."""
    power = tl.minimum(distance * 1.4426950408889634, 31.0)
    whole = (power + 0.5).to(tl.int32)
    return _scaled_fraction(power - whole.to(tl.float32)) >> whole


@triton.jit
def fine_weight(distance):
    """Return the weight in units of 2**-45 of the most likely token's, int64."""
    power = tl.minimum(distance * 1.4426950408889634, 62.0)
    whole = (power + 0.5).to(tl.int32)
    return (_scaled_fraction(power - whole.to(tl.float32)).to(tl.int64) << 15) >> whole.to(tl.int64)
