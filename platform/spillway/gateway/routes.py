"""Which model serves a request: the one it names, unless a declared rule chooses another."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from spillway.settings import RouteRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What rules may look at."""

    named: str
    """What the request calls its model: a name or an alias."""
    model: str
    """The name of the model that is meant."""
    tenant: str
    tier: str
    priority: int
    """The request's own; lower is more important."""
    prompt_tokens: int
    """Of its longest prompt, as the model that is meant tokenizes it."""
    headers: Collection[tuple[bytes, bytes]]
    """With names in lower case."""


def route(rules: Sequence[RouteRule], asked: Asked) -> str:
    """Return the name of the model that serves: that of the first rule that matches, else the one that is meant."""
    return next((rule.to for rule in rules if matches(rule, asked)), asked.model)


def matches(rule: RouteRule, asked: Asked) -> bool:
    """Whether all conditions hold."""
    return (
        rule.model in {None, asked.named, asked.model}
        and rule.tenant in {None, asked.tenant}
        and rule.tier in {None, asked.tier}
        and _is_within(rule.priority_at_least, asked.priority, rule.priority_at_most)
        and _is_within(rule.prompt_tokens_at_least, asked.prompt_tokens, rule.prompt_tokens_at_most)
        and all((name.lower().encode(), value.encode()) in asked.headers for name, value in rule.header.items())
    )


def _is_within(least: int | None, value: int, most: int | None) -> bool:
    return (least is None or least <= value) and (most is None or value <= most)
