"""Rules that choose a model: `[[routes]]` in spillway.toml, and there alone, for a rule has no name to give it a flag.

::

    [[routes]]
    to = "chat-long"                  # the name of a served model; all else is optional, and must hold together
    model = "chat"
    prompt_tokens_at_least = 8000

    [[routes]]
    to = "chat-batch"
    tier = "flex"
    tenant = "acme"
    header = { x-team = "research" }
"""

import re
from typing import Any, Final

from spillway.admission.contract import ANONYMOUS_ID
from spillway.admission.identity.records import tenant_id_problem
from spillway.configuration.values import Kind, Text, Whole
from spillway.errors import ConfigurationError
from spillway.settings import RouteRule

_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE: Final = re.compile(r"[!-~]([ -~]*[!-~])?")
_PRIORITY: Final = Whole(-100, 100)
_PROMPT_TOKENS: Final = Whole(1, 10_000_000)


def _tier(text: str) -> str | None:
    return None if text in {"default", "flex", "priority"} else "default, flex or priority"


def _tenant(text: str) -> str | None:
    return None if text == ANONYMOUS_ID else tenant_id_problem(text)


_KINDS: Final[dict[str, Kind]] = {
    "to": Text(),
    "model": Text(),
    "tenant": Text(_tenant),
    "tier": Text(_tier),
    "priority_at_least": _PRIORITY,
    "priority_at_most": _PRIORITY,
    "prompt_tokens_at_least": _PROMPT_TOKENS,
    "prompt_tokens_at_most": _PROMPT_TOKENS,
}
_KEYS: Final = (*_KINDS, "header")


def routes_from_file(tables: object, origin: str) -> tuple[RouteRule, ...]:
    """Read `[[routes]]`, in the order in which they are tried. Raises `ConfigurationError`."""
    if not isinstance(tables, list):
        raise ConfigurationError(f"{origin} is {tables!r}; it must be tables, each written [[routes]]")
    return tuple(_rule(table, f"{origin}[{place}]") for place, table in enumerate(tables))


def _rule(table: object, origin: str) -> RouteRule:
    if not isinstance(table, dict):
        raise ConfigurationError(f"{origin} is {table!r}; it must be a table, written [[routes]]")
    found: dict[str, Any] = {}
    for key, value in table.items():
        if key not in _KEYS:
            raise ConfigurationError(f"{origin}.{key} is no part of a rule; there are: {', '.join(_KEYS)}")
        try:
            found[key] = _header(value) if key == "header" else _KINDS[key].from_file(value)
        except ValueError as error:
            raise ConfigurationError(f"{origin}.{key} is {value!r}; it must be {error}") from None
    if "to" not in found:
        raise ConfigurationError(f"{origin} lacks 'to': the name of the model that serves what the rule matches")
    for bounded in ("priority", "prompt_tokens"):
        least, most = found.get(f"{bounded}_at_least"), found.get(f"{bounded}_at_most")
        if least is not None and most is not None and least > most:
            raise ConfigurationError(
                f"{origin}.{bounded}_at_least is {least}; it must be at most {bounded}_at_most ({most}), or the rule "
                f"matches nothing"
            )
    return RouteRule(**found)


def _header(value: object) -> dict[str, str]:
    allowed = 'a table of header names, each once, and their exact values, such as { x-team = "research" }'
    if not isinstance(value, dict):
        raise ValueError(allowed)  # noqa: TRY004 - every refusal of a value is one kind of error
    found = {name.lower(): wanted for name, wanted in value.items() if _TOKEN.fullmatch(name)}
    if len(found) < len(value) or not all(isinstance(text, str) and _VALUE.fullmatch(text) for text in found.values()):
        raise ValueError(allowed)
    return found
