"""Atomic words between threads of compiled code, and the hint that a loop spins, as numba intrinsics."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from spillway_engine.cpu.vector import array_address

_I64 = ir.IntType(64)


def _atomic(name: str, result: types.Type, emit: Any, takes_value: bool) -> Any:
    if takes_value:

        @intrinsic
        def operation(typing_context, array, index, value):  # type: ignore[no-untyped-def]
            def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
                base = array_address(context, builder, array, arguments[0])
                address = builder.add(base, builder.mul(arguments[1], _I64(8)))
                return emit(context, builder, builder.inttoptr(address, _I64.as_pointer()), arguments[2])

            return result(array, types.int64, types.int64), codegen
    else:

        @intrinsic
        def operation(typing_context, array, index):  # type: ignore[no-untyped-def]
            def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
                base = array_address(context, builder, array, arguments[0])
                address = builder.add(base, builder.mul(arguments[1], _I64(8)))
                return emit(context, builder, builder.inttoptr(address, _I64.as_pointer()), None)

            return result(array, types.int64), codegen

    operation.__name__ = name
    return operation


def _emit_store(context: Any, builder: Any, pointer: Any, value: Any) -> Any:
    builder.store_atomic(value, pointer, "seq_cst", 8)
    return context.get_dummy_value()


atomic_add = _atomic(
    "atomic_add", types.int64, lambda _, b, pointer, value: b.atomic_rmw("add", pointer, value, "seq_cst"), True
)
"""Add to `array[index]` (int64) and return what it held before."""
atomic_load = _atomic("atomic_load", types.int64, lambda _, b, pointer, __: b.load_atomic(pointer, "seq_cst", 8), False)
"""Read `array[index]` (int64)."""
atomic_store = _atomic("atomic_store", types.void, _emit_store, True)
"""Write `array[index]` (int64)."""


@intrinsic
def pause(typing_context):  # type: ignore[no-untyped-def]
    """Tell the core that this is a spin loop (x86 `pause`; nothing elsewhere)."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        if builder.module.triple.startswith(("x86_64", "i686")):
            hint = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause"
            )
            builder.call(hint, [])
        return context.get_dummy_value()

    return types.void(), codegen
