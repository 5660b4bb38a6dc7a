"""Matrix products whose result for a row does not depend on how many rows there are: `left @ weights.T`.

The inputs are cut into parts, as many as the weight's shape says. Each part is one chain of multiply-accumulates, and
parts are added in order::

    inputs    │ part 0 │ part 1 │ part 2 │
    few rows  a program for each part writes its sums; whoever reads them next adds them up      (`multiply_parts`)
    many rows one program runs through all parts, adding as it goes                              (`multiply`)

Few rows need the parts to fill a GPU with work; many rows fill it by themselves. Both make the same sums in the same
order. Tiles of 64 rows and more make one kind of matrix instruction, also where fewer rows would do.
"""

import triton
import triton.language as tl


@triton.jit
def _accumulate(
    left, weights, row, output, first, last, inputs, num_rows, outputs, left_stride,
    ROWS: tl.constexpr, OUTPUTS: tl.constexpr, DEPTH: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Return the [ROWS, OUTPUTS] products over inputs [first, last), float32. EVEN: DEPTH divides `last - first`."""
    sums = tl.zeros([ROWS, OUTPUTS], tl.float32)
    here = row < num_rows
    there = output < outputs
    lefts = left + row.to(tl.int64)[:, None] * left_stride
    rights = weights + output.to(tl.int64)[None, :] * inputs
    for start in range(first, last, DEPTH):
        depth = start + tl.arange(0, DEPTH)
        if EVEN:
            a = tl.load(lefts + depth[None, :], mask=here[:, None], other=0.0)
            b = tl.load(rights + depth[:, None], mask=there[None, :], other=0.0)
        else:
            inside = depth < last
            a = tl.load(lefts + depth[None, :], mask=here[:, None] & inside[None, :], other=0.0)
            b = tl.load(rights + depth[:, None], mask=there[None, :] & inside[:, None], other=0.0)
        sums = tl.dot(a, b, sums, input_precision=PRECISION)
    return sums


@triton.jit(do_not_specialize=["num_rows"])
def multiply(
    out, left, weights, bias, num_rows, outputs, inputs, part, left_stride, out_stride,
    ROWS: tl.constexpr, OUTPUTS: tl.constexpr, DEPTH: tl.constexpr, BAND: tl.constexpr, EVEN: tl.constexpr,
    HAS_BIAS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write `left @ weights.T (+ bias)` to `out` [num_rows, outputs], rounded to its type.

    `weights` is [outputs, inputs]; a part is `part` inputs. Programs go through BAND tiles of rows before the next
    tile of outputs, so that what they share stays in the cache.
    """
    row_tiles = tl.cdiv(num_rows, ROWS)
    in_band = BAND * tl.cdiv(outputs, OUTPUTS)
    band = tl.program_id(0) // in_band
    height = tl.minimum(row_tiles - band * BAND, BAND)
    row = (band * BAND + (tl.program_id(0) % in_band) % height) * ROWS + tl.arange(0, ROWS)
    output = ((tl.program_id(0) % in_band) // height) * OUTPUTS + tl.arange(0, OUTPUTS)
    sums = tl.zeros([ROWS, OUTPUTS], tl.float32)
    for first in range(0, inputs, part):
        sums += _accumulate(
            left, weights, row, output, first, tl.minimum(first + part, inputs), inputs, num_rows, outputs,
            left_stride, ROWS, OUTPUTS, DEPTH, EVEN, PRECISION,
        )  # fmt: skip
    if HAS_BIAS:
        sums += tl.load(bias + output, mask=output < outputs, other=0.0)[None, :].to(tl.float32)
    to = row.to(tl.int64)[:, None] * out_stride + output[None, :]
    mask = (row < num_rows)[:, None] & (output < outputs)[None, :]
    tl.store(out + to, sums.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["num_rows", "part_stride"])
def multiply_parts(
    parts, left, weights, num_rows, outputs, inputs, part, left_stride, part_stride,
    ROWS: tl.constexpr, OUTPUTS: tl.constexpr, DEPTH: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write the sums of each part to `parts` [number of parts, num_rows, outputs], float32."""
    output = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    number = tl.program_id(2)
    first = number * part
    sums = _accumulate(
        left, weights, row, output, first, tl.minimum(first + part, inputs), inputs, num_rows, outputs, left_stride,
        ROWS, OUTPUTS, DEPTH, EVEN, PRECISION,
    )  # fmt: skip
    to = number.to(tl.int64) * part_stride + row.to(tl.int64)[:, None] * outputs + output[None, :]
    tl.store(parts + to, sums, mask=(row < num_rows)[:, None] & (output < outputs)[None, :])


@triton.jit
def read_product(
    source, bias, row, columns, mask, part_stride, row_stride, ROUNDED: tl.constexpr, PARTS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """Return columns of a row of a product as float32, rounded to ROUNDED, whichever kernel made it.

    PARTS 0: `source` holds what `multiply` wrote. Otherwise it holds that many parts, which are added in their order,
    and the bias with them.
    """
    at = source + row.to(tl.int64) * row_stride + columns
    if PARTS == 0:
        return tl.load(at, mask=mask, other=0.0).to(tl.float32)
    # from zero, as `multiply` adds: -0.0 from the first part would keep its sign otherwise
    sums = tl.zeros(columns.shape, tl.float32)
    for _ in tl.static_range(PARTS):
        sums += tl.load(at, mask=mask, other=0.0)
        at += part_stride
    if HAS_BIAS:
        sums += tl.load(bias + columns, mask=mask, other=0.0).to(tl.float32)
    return sums.to(ROUNDED).to(tl.float32)
