"""What people read: self-contained HTML, light and dark, made of the same values as the JSON beside it."""

from pathlib import Path
from typing import Any, Final

import jinja2

NOTHING: Final = "\N{EN DASH}"
_FOLDER: Final = Path(__file__).parent
_ENVIRONMENT: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
)


def _seconds(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.1f} s"


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.0%}"


def _score(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.0f}"


_ENVIRONMENT.filters |= {"seconds": _seconds, "percent": _percent, "score": _score}


def render(template: str, **values: Any) -> str:
    """Return a page; `template` is a file of this folder."""
    return _ENVIRONMENT.get_template(template).render(**values)
