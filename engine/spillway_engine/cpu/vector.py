"""LLVM vector code as numba intrinsics: the multiply-accumulate tile that all matrix work is made of.

The tile multiplies a few rows with a panel of stored weights or cache entries::

            ┌ 16 ┬ 16 ┬ 16 ┐            panel: depth x (vectors * 16), float32, bfloat16 or float16
            │    │    │    │ depth      widened to float32 on the way into a register
            └────┴────┴────┘
    ┌depth┐ ┌────┬────┬────┐
    │     │ │    │    │    │ rows       rows * vectors accumulators, all in registers
    └─────┘ └────┴────┴────┘

Rows of float32 go through fused multiply-adds. Rows of bfloat16 are for processors with AVX512-BF16, where one
instruction multiplies two neighbours of a row with two of a column and adds both: twice the work, no widening. Their
panels hold the depth in pairs, ``[depth / 2, columns, 2]``.

Each output is one chain over the depth, first to last: its bits do not depend on how many rows or vectors are computed
beside it. LLVM maps sixteen lanes to one AVX-512 register, two of AVX2, or four of NEON.
"""

from typing import Any, NamedTuple

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 16
"""float32 lanes of a vector."""

MAX_ROWS = 8
"""Rows of a tile: 8 x 3 accumulators leave AVX-512's 32 registers room for a line of the panel."""

PREFETCH_BYTES = 4096
"""How far ahead of its reads a tile asks for panel bytes: a page, where hardware prefetchers stop (+30 % bandwidth)."""


class _BFloat(ir.Type):  # type: ignore[misc]  # llvmlite has no types
    """LLVM's `bfloat`, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


_F32 = ir.FloatType()
_F16 = ir.HalfType()
_I8, _I16, _I32, _I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_LANES_F32 = ir.VectorType(_F32, LANES)
_LANES_I32 = ir.VectorType(_I32, LANES)
_ZERO = ir.Constant(_LANES_F32, [0.0] * LANES)
_LANES_PAIRS = ir.VectorType(_BFloat(), 2 * LANES)
_ANY_FLOATS = ir.Constant(_LANES_F32, ir.Undefined)
_ANY_INTEGERS = ir.Constant(_LANES_I32, ir.Undefined)


def multiplies_pairs() -> bool:
    """Whether this processor multiplies pairs of bfloat16 (AVX512-BF16)."""
    return bool(llvmlite.binding.get_host_cpu_features().get("avx512bf16"))


def _widen_float32(builder: Any, address: Any) -> Any:
    vector = builder.load(builder.inttoptr(address, _LANES_F32.as_pointer()))
    vector.align = 4
    return vector


def _widen_bfloat16(builder: Any, address: Any) -> Any:
    half = builder.load(builder.inttoptr(address, ir.VectorType(_I16, LANES).as_pointer()))
    half.align = 2
    wide = builder.shl(builder.zext(half, _LANES_I32), ir.Constant(_LANES_I32, [16] * LANES))
    return builder.bitcast(wide, _LANES_F32)


def _widen_float16(builder: Any, address: Any) -> Any:
    half = builder.load(builder.inttoptr(address, ir.VectorType(_F16, LANES).as_pointer()))
    half.align = 2
    return builder.fpext(half, _LANES_F32)


STORAGE: dict[types.Type, tuple[int, Any]] = {
    types.float32: (4, _widen_float32),
    types.uint16: (2, _widen_bfloat16),
    types.int16: (2, _widen_float16),
}
"""How stored numbers are read, by the numba type of the array that holds them: bytes each, and the widening load.

numpy has no bfloat16, and numba no float16 on a CPU: bits travel as uint16 (bfloat16) and int16 (float16).
"""


def array_address(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    """Return the address of an array's first element, in bytes, as an LLVM value."""
    return builder.ptrtoint(context.make_array(array_type)(context, builder, array).data, _I64)


@intrinsic(prefer_literal=True)
def tile(  # type: ignore[no-untyped-def]
    typing_context, vectors, stream, rows, adds, out, out_at, out_stride, left, left_at, left_stride, panel, panel_at,
    panel_stride, depth,
):  # fmt: skip
    """Compute `out[r, j] = sum_k left[r, k] * panel[k, j]` for 1 to `MAX_ROWS` rows and `vectors` * 16 columns.

    `adds`: add the sums to what `out` holds. `stream` (0 or 1): prefetch the panel, for panels that come from memory.
    It and `vectors` are literals; each number of rows is a piece of straight-line code behind a switch. Arrays are
    flat; `*_at` are offsets and `*_stride` distances between rows, in elements. A `left` of bfloat16 (uint16) wants a
    panel of pairs and an even depth.
    """
    literals = (vectors, stream)
    if not all(isinstance(value, types.IntegerLiteral) for value in literals):
        return None
    num_vectors, streams = (value.literal_value for value in literals)
    int64 = types.int64
    signature = types.void(
        vectors, stream, int64, types.boolean, out, int64, int64, left, int64, int64, panel, int64, int64, int64
    )

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        rows_, adds_, out_, out_at_, out_stride_, left_, left_at_, left_stride_ = arguments[2:10]
        panel_, panel_at_, stride_, depth_ = arguments[10:]
        width = STORAGE[panel.dtype][0]
        product = _PAIRS if left.dtype == types.uint16 else _widening(panel.dtype)
        bases = _Operands(
            out=_offset(builder, array_address(context, builder, out, out_), out_at_, 4),
            out_stride=out_stride_,
            left=_offset(builder, array_address(context, builder, left, left_), left_at_, product.left_width),
            left_stride=left_stride_,
            panel=_offset(builder, array_address(context, builder, panel, panel_), panel_at_, width),
            panel_stride=stride_,
            depth=depth_,
            adds=adds_,
        )
        end = builder.function.append_basic_block("tile.end")
        switch = builder.switch(rows_, end)
        for num_rows in range(1, MAX_ROWS + 1):
            case = builder.function.append_basic_block(f"tile.rows{num_rows}")
            switch.add_case(_I64(num_rows), case)
            builder.position_at_end(case)
            _emit_tile(builder, bases, num_rows, num_vectors, product, bool(streams))
            builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return signature, codegen


class _Operands(NamedTuple):
    """Addresses in bytes, strides in elements, as LLVM values."""

    out: Any
    out_stride: Any
    left: Any
    left_stride: Any
    panel: Any
    panel_stride: Any
    depth: Any
    adds: Any
    """i1"""


def _offset(builder: Any, base: Any, elements: Any, size: int) -> Any:
    return builder.add(base, builder.mul(elements, _I64(size)))


class _Product(NamedTuple):
    """How a tile multiplies: its operands' bytes, and the instructions of one round."""

    left_width: int
    panel_width: int
    depth_step: int
    """Elements of the depth in a round."""
    load_columns: Any
    """(builder, address) -> sixteen columns of the panel."""
    load_left: Any
    """(builder, address) -> the row's element, in every lane."""
    accumulate: Any
    """(builder, left, columns, sums) -> sums."""


def _spread(builder: Any, address: Any, scalar_type: Any, anything: Any) -> Any:
    scalar = builder.load(builder.inttoptr(address, scalar_type.as_pointer()))
    scalar.align = 2
    lane0 = builder.insert_element(anything, scalar, _I32(0))
    return builder.shuffle_vector(lane0, anything, ir.Constant(_LANES_I32, [0] * LANES))


def _fma(builder: Any, left: Any, columns: Any, sums: Any) -> Any:
    kind = ir.FunctionType(_LANES_F32, [_LANES_F32] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.v16f32"), [left, columns, sums])


def _widening(stored: types.Type) -> _Product:
    """Rows of float32 times columns that are widened to it."""
    width, widen = STORAGE[stored]
    return _Product(4, width, 1, widen, lambda b, address: _spread(b, address, _F32, _ANY_FLOATS), _fma)


def _load_pairs(builder: Any, address: Any) -> Any:
    pairs = builder.load(builder.inttoptr(address, _LANES_PAIRS.as_pointer()))
    pairs.align = 2
    return pairs


def _dot_pairs(builder: Any, left: Any, columns: Any, sums: Any) -> Any:
    kind = ir.FunctionType(_LANES_F32, [_LANES_F32, _LANES_PAIRS, _LANES_PAIRS])
    dot = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512bf16.dpbf16ps.512")
    return builder.call(dot, [sums, builder.bitcast(left, _LANES_PAIRS), columns])


_PAIRS = _Product(2, 2, 2, _load_pairs, lambda b, address: _spread(b, address, _I32, _ANY_INTEGERS), _dot_pairs)
"""Rows of bfloat16 times columns of bfloat16, two neighbours at a time."""


def _emit_tile(builder: Any, at: _Operands, num_rows: int, num_vectors: int, product: _Product, streams: bool) -> None:
    """Emit the depth loop of one tile and its stores, at the builder's position."""
    width = product.panel_width
    line_bytes = num_vectors * LANES * product.depth_step * width
    left_rows = [
        _offset(builder, at.left, builder.mul(at.left_stride, _I64(r)), product.left_width) for r in range(num_rows)
    ]
    num_cells = num_rows * num_vectors

    entry = builder.block
    loop = builder.function.append_basic_block("tile.depth")
    done = builder.function.append_basic_block("tile.done")
    builder.cbranch(builder.icmp_signed(">", at.depth, _I64(0)), loop, done)

    builder.position_at_end(loop)
    k = _phi(builder, _I64, [(_I64(0), entry)])
    sums = [_phi(builder, _LANES_F32, [(_ZERO, entry)]) for _ in range(num_cells)]
    line = _offset(builder, at.panel, builder.mul(k, at.panel_stride), width)
    if streams:
        _emit_prefetch(builder, line, line_bytes)
    columns = [
        product.load_columns(builder, builder.add(line, _I64(v * line_bytes // num_vectors)))
        for v in range(num_vectors)
    ]
    updated = []
    for r in range(num_rows):
        left = product.load_left(builder, _offset(builder, left_rows[r], k, product.left_width))
        updated += [
            product.accumulate(builder, left, columns[v], sums[r * num_vectors + v]) for v in range(num_vectors)
        ]
    following = builder.add(k, _I64(product.depth_step))
    for phi, value in zip([k, *sums], [following, *updated], strict=True):
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", following, at.depth), loop, done)

    builder.position_at_end(done)
    totals = [_phi(builder, _LANES_F32, [(_ZERO, entry), (value, loop)]) for value in updated]
    pointers = []
    for cell in range(num_cells):
        r, v = divmod(cell, num_vectors)
        row = _offset(builder, at.out, builder.mul(at.out_stride, _I64(r)), 4)
        pointers.append(builder.inttoptr(builder.add(row, _I64(v * LANES * 4)), _LANES_F32.as_pointer()))
    with builder.if_else(at.adds) as (then, otherwise):
        with then:
            for total, pointer in zip(totals, pointers, strict=True):
                held = builder.load(pointer)
                held.align = 4
                builder.store(builder.fadd(held, total), pointer).align = 4
        with otherwise:
            for total, pointer in zip(totals, pointers, strict=True):
                builder.store(total, pointer).align = 4


def _phi(builder: Any, llvm_type: Any, incoming: list[tuple[Any, Any]]) -> Any:
    phi = builder.phi(llvm_type)
    for value, block in incoming:
        phi.add_incoming(value, block)
    return phi


def _emit_prefetch(builder: Any, line: Any, num_bytes: int) -> None:
    prefetch = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32]), "llvm.prefetch.p0"
    )
    for offset in range(0, num_bytes, 64):
        ahead = builder.inttoptr(builder.add(line, _I64(PREFETCH_BYTES + offset)), _I8.as_pointer())
        builder.call(prefetch, [ahead, _I32(0), _I32(3), _I32(1)])
