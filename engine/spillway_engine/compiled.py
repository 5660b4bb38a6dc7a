"""How kernels are compiled: one decorator, so that all of them keep to the same arithmetic and the same cache."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

from spillway_engine.kernel_cache import use_kernel_cache

use_kernel_cache()  # before any kernel is defined: numba chooses the folder then

Array = np.ndarray[Any, Any]
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile to machine code on first use, cached on disk, without the interpreter lock.

    No `fastmath`: floats are never reassociated or contracted, so results do not depend on the vector width that the
    compiler picks. No `parallel`: callers bring their own threads. Division by zero gives Inf, as in numpy.

    Numba wants `np.int32(...)` around each operation on 32-bit integers: it computes in 64 bits otherwise, and loops
    vectorise at half the width.
    """
    return cast("Function", numba.njit(nogil=True, cache=True, error_model="numpy")(function))


def inlined(function: Function) -> Function:
    """Compile like `compiled`, and put the body in place of each call before LLVM sees it.

    For what loops call for each element: LLVM inlines too, but may do so only after it has given up on vectorising.
    """
    return cast("Function", numba.njit(nogil=True, error_model="numpy", inline="always")(function))
