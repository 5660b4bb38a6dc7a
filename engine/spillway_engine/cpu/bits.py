"""Reinterpreting and converting single numbers in compiled code, as numba intrinsics."""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

_F32, _F16 = ir.FloatType(), ir.HalfType()
_I16, _I32 = ir.IntType(16), ir.IntType(32)


def _scalar_cast(source: types.Type, target: types.Type, llvm_target: Any) -> Any:
    @intrinsic
    def cast(typing_context, value):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return builder.bitcast(arguments[0], llvm_target)

        return target(source), codegen

    return cast


bits_of_float = _scalar_cast(types.float32, types.int32, _I32)
"""The bits of a float32, as int32."""
float_of_bits = _scalar_cast(types.int32, types.float32, _F32)
"""The float32 with these bits."""


@intrinsic
def float_of_half_bits(typing_context, value):  # type: ignore[no-untyped-def]
    """The float32 equal to the float16 with these bits (int16)."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.fpext(builder.bitcast(arguments[0], _F16), _F32)

    return types.float32(types.int16), codegen


@intrinsic
def half_bits_of_float(typing_context, value):  # type: ignore[no-untyped-def]
    """The bits (int16) of the float16 nearest to a float32, ties to even."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(builder.fptrunc(arguments[0], _F16), _I16)

    return types.int16(types.float32), codegen
