"""The pipeline's file, typed."""

import tomllib
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from spillway_chaos.errors import UsageError

SHIPPED: Final = Path(__file__).parents[2] / "pipeline.toml"


class PipelineStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of them."""

    name: str
    about: str
    command: Annotated[tuple[str, ...], Meta(min_length=1)]
    after: tuple[str, ...] = ()
    """Steps that must have passed."""
    needs_platform: bool = False
    timeout_s: Annotated[float, Meta(gt=0)] = 3600.0


class Steps(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole file."""

    steps: Annotated[tuple[PipelineStep, ...], Meta(min_length=1)]


def load(path: Path | None) -> tuple[PipelineStep, ...]:
    """Read the file, or the shipped one. Raises `UsageError`."""
    found = path or SHIPPED
    try:
        steps = msgspec.convert(tomllib.loads(found.read_text(encoding="utf-8")), Steps).steps
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the pipeline's file {found} cannot be read: {error}") from None
    except msgspec.ValidationError as error:
        raise UsageError(f"{found}: {error}") from None
    known: list[str] = []
    for step in steps:
        for needed in step.after:
            if needed not in known:
                raise UsageError(f"{found}: the step {step.name!r} comes after {needed!r}, which is no step before it")
        known.append(step.name)
    return steps


def chosen(steps: tuple[PipelineStep, ...], only: tuple[str, ...]) -> tuple[PipelineStep, ...]:
    """Return those that are wanted; what they come after counts only if it is wanted, too. Raises `UsageError`."""
    known = [step.name for step in steps]
    for name in only:
        if name not in known:
            raise UsageError(f"{name!r} is no step; there are: {', '.join(known)}")
    if not only:
        return steps
    return tuple(
        msgspec.structs.replace(step, after=tuple(name for name in step.after if name in only))
        for step in steps
        if step.name in only
    )
