"""Print the versions of Spillway and of what it stands on."""

import argparse
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from spillway.cli import Surroundings

_PACKAGES: Final = ("spillway", "torch", "transformers", "litestar", "uvicorn", "msgspec", "numba")


def add_arguments(parser: argparse.ArgumentParser, *, explain: bool) -> None:
    """It has none."""


def run(given: Mapping[str, Any], around: Surroundings) -> int:
    """Print one line for each, from the packages' metadata alone."""
    for package in _PACKAGES:
        around.out.write(f"{package:14}{_version(package)}\n")
    around.out.write(f"{'python':14}{platform.python_version()} on {platform.system()} {platform.machine()}\n")
    return 0


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
