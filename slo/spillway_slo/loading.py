"""Files of OpenSLO documents → objectives. Every error names the file, the document, the field, and what to do."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from spillway_slo import openslo
from spillway_slo.building import build
from spillway_slo.errors import SpecError
from spillway_slo.found import Found
from spillway_slo.narrowing import kinds_of, narrowed, narrowed_stream
from spillway_slo.objective import Objective
from spillway_slo.policies import read_policies

_INSTALLED: Final = Path(__file__).parent / "objectives"
SHIPPED: Final = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[1] / "objectives"
"""Beside the code where it was installed from a wheel, beside its folder in a checkout."""
SHARED: Final = "shared"
PROFILES: Final = ("standard", "laptop")
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_VERSION: Final = "openslo/v1"
_KINDS: Final = "kinds"
_REPORTED: Final = "kinds-reported"
"""The whole of which they are a part pages already: nobody is called twice for one thing."""


def load(profile: str | Path) -> tuple[Objective, ...]:
    """Return the objectives of a shipped profile, of a file, or of a folder of files. Raises `SpecError`.

    The shipped indicators and alert policies can be referred to from everywhere.
    """
    folder = SHIPPED / str(profile) if profile in PROFILES else Path(profile)
    files = [*sorted((SHIPPED / SHARED).glob("*.yaml")), *_files(folder)]
    documents = [document for file in files for document in _documents(file)]
    named: dict[tuple[str, str], Found] = {}
    for document in documents:
        key = (document.head.kind, document.head.metadata.name)
        if key in named:
            raise SpecError(f"{document.place}: {key[0]} {key[1]!r} is already in {named[key].place}; rename one")
        named[key] = document
    policies = read_policies(named)
    found: list[Objective] = []
    for document in documents:
        if document.head.kind == "SLO":
            found += _of_kinds(document, build(document, named, policies))
    if not found:
        raise SpecError(f"{folder}: there is no document of the kind SLO; write one, or name another file")
    return tuple(found)


def _files(folder: Path) -> list[Path]:
    if folder.is_dir():
        found = sorted(folder.glob("*.yaml"))
        if not found:
            raise SpecError(f"{folder}: there is no file *.yaml in this folder")
        return found
    if not folder.is_file():
        shipped = ", ".join(PROFILES)
        raise SpecError(f"{folder}: there is no such file or folder; the profiles that are shipped are: {shipped}")
    return [folder]


def _documents(file: Path) -> Iterator[Found]:
    try:
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{file}: it cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{file}: it is not valid YAML: {' '.join(str(error).split())}") from None
    for number, content in enumerate(documents, 1):
        if content is not None:
            yield _document(f"{file.name}, document {number}", content)


def _document(place: str, content: object) -> Found:
    head = _convert(place, "", content, openslo.Document)
    if head.api_version != _VERSION:
        raise SpecError(f"{place}: apiVersion is {head.api_version!r}; it must be {_VERSION}")
    if head.kind not in openslo.SPECS:
        raise SpecError(f"{place}: kind is {head.kind!r}; it must be one of: {', '.join(openslo.SPECS)}")
    if not _NAME.fullmatch(head.metadata.name):
        raise SpecError(
            f"{place}: metadata.name is {head.metadata.name!r}; it must be at most 63 small letters, digits and -"
        )
    place = f"{place} ({head.kind} {head.metadata.name})"
    for key in head.metadata.annotations:
        _check_extension(place, key)
    wanted = openslo.SPECS[head.kind]
    spec = None if wanted is openslo.AnySpec else _convert(place, "spec", head.spec, wanted)
    return Found(place, head, spec)


def _check_extension(place: str, key: str) -> None:
    name = key.removeprefix(openslo.PREFIX)
    if name != key and name not in openslo.EXTENSIONS and not name.startswith("accept."):
        known = ", ".join(openslo.PREFIX + each for each in openslo.EXTENSIONS)
        raise SpecError(f"{place}: metadata.annotations has {key!r}, which is no extension; there are: {known}")


def _convert(place: str, path: str, content: object, wanted: type[Any]) -> Any:
    try:
        return msgspec.convert(content, wanted)
    except msgspec.ValidationError as error:
        said, _, where = str(error).partition(" - at `$")
        where = (path + where.rstrip("`")).lstrip(".")
        raise SpecError(f"{place}: {where + ': ' if where else ''}{said}; see the fields in OpenSLO v1") from None


def _of_kinds(document: Found, objective: Objective) -> Iterator[Objective]:
    """Yield it, and one for each kind of call that its annotations list."""
    yield objective
    for name in (_KINDS, _REPORTED):
        said = annotation(document.head.metadata.annotations, name)
        for kind in [] if said is None else [word.strip() for word in said.split(",")]:
            label, known = kinds_of(objective.indicator)
            if kind not in known:
                allowed = ", ".join(known)
                raise SpecError(
                    f"{document.place}: {openslo.PREFIX}{name} names {kind!r}; each must be one of: {allowed}"
                )
            found = of_kind(objective, kind, label, known[kind], document.place)
            yield found if name == _KINDS else replace(found, policies=())


def of_kind(objective: Objective, kind: str, label: str, value: str, place: str) -> Objective:
    """Return the same promise for one kind of call, which series tell by a label's value."""
    percentile = objective.percentile
    if percentile is not None:
        percentile = replace(percentile, histogram=narrowed_stream(percentile.histogram, label, (value,), place))
    return replace(
        objective,
        name=f"{objective.name}-{kind}",
        title=f"{objective.title} ({kind})",
        kind=kind,
        indicator=narrowed(objective.indicator, label, (value,), place),
        percentile=percentile,
    )


def annotation(annotations: Mapping[str, str], name: str) -> str | None:
    """Return an extension's value."""
    return annotations.get(openslo.PREFIX + name)
