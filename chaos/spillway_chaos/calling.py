"""Calls what an activity names. Only this package's own functions: a drill's file must not run anything else."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from spillway_chaos.errors import UsageError
from spillway_chaos.experiment import Activity

_OURS = ("spillway_chaos.faults.", "spillway_chaos.probes.")


def function_of(activity: Activity) -> Callable[..., Any]:
    """Return it, if the arguments fit. Raises `UsageError`."""
    provider = activity.provider
    if not provider.module.startswith(_OURS):
        raise UsageError(
            f"{activity.name!r} names the module {provider.module!r}; drills call {' and '.join(_OURS)} alone"
        )
    try:
        module = importlib.import_module(provider.module)
    except ImportError as error:
        raise UsageError(f"{activity.name!r} names the module {provider.module!r}: {error}") from None
    function = getattr(module, provider.func, None)
    if not inspect.isfunction(function) or function.__module__ != provider.module:
        known = sorted(name for name, found in inspect.getmembers(module, inspect.isfunction)
                       if found.__module__ == provider.module and not name.startswith("_"))  # fmt: skip
        raise UsageError(f"{provider.module} has no {provider.func!r}; it has: {', '.join(known)}")
    try:
        inspect.signature(function).bind(**provider.arguments)
    except TypeError as error:
        raise UsageError(f"{activity.name!r}: {provider.func}: {error}") from None
    found: Callable[..., Any] = function
    return found


def call(activity: Activity) -> Any:
    """Carry it out, and return what it returns."""
    return function_of(activity)(**activity.provider.arguments)
