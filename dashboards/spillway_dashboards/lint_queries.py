"""Rules of queries, on their syntax tree: what Prometheus would refuse, or answer with nonsense."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import promql_parser as promql

RATE_INTERVAL: Final = "$__rate_interval"
_MARK_S: Final = 321
"""Seconds that no query names: they stand for `$__rate_interval`."""
DURATIONS: Final = {RATE_INTERVAL: f"{_MARK_S}s", "$__range": "1h"}
"""Grafana's variables that stand for durations, and what replaces them here."""
_GROWTH: Final = frozenset({"rate", "irate", "increase"})
_COUNTED: Final = re.compile(r"_(total|bucket|sum|count)$")


def faults_of_query(expr: str, wanted: tuple[str, ...], *, is_selector: bool = False) -> Iterator[str]:
    """Yield what is wrong with a query. `wanted` are the variables that each of its selectors must match."""
    try:
        tree = promql.parse(replaced(expr, DURATIONS))
    except ValueError as error:
        yield f"target-promql-rule: no PromQL: {error}"
        return
    for node, above in nodes(tree):
        if isinstance(node, promql.VectorSelector):
            matched = {(matcher.name, matcher.value) for matcher in node.matchers.matchers}
            for label in wanted:
                if (label, f"${label}") not in matched:
                    yield f'target-{label}-rule: {node.name} must match {label}=~"${label}"'
            is_counter = (node.name or "").endswith("_total")
            if is_counter and not is_selector and not isinstance(above, promql.MatrixSelector):
                yield f"target-counter-agg-rule: the counter {node.name} needs rate, irate or increase"
        elif isinstance(node, promql.MatrixSelector):
            yield from _of_range(node, above)


def _of_range(node: promql.MatrixSelector, above: Any) -> Iterator[str]:
    function = above.func.name if isinstance(above, promql.Call) else ""
    name, seconds = node.vector_selector.name or "", node.range.total_seconds()
    if function not in _GROWTH:
        yield f"target-counter-agg-rule: a range of {name} is given to {function or 'nothing'}"
    elif not _COUNTED.search(name):
        yield f"target-counter-agg-rule: {name} is no counter: it has no {function}"
    if function in {"rate", "irate"} and seconds != _MARK_S:
        yield f"target-rate-interval-rule: the {function} of {name} must be over {RATE_INTERVAL}"


def is_aggregated(expr: str) -> bool:
    """Whether a query adds up all that it selects: its answer then has only labels that it names."""
    depth = 0
    bare = False

    def enter(node: promql.Expr) -> None:
        nonlocal depth, bare
        depth += isinstance(node, promql.AggregateExpr)
        bare = bare or (isinstance(node, promql.VectorSelector) and depth == 0)

    def leave(node: promql.Expr) -> None:
        nonlocal depth
        depth -= isinstance(node, promql.AggregateExpr)

    promql.walk(promql.parse(replaced(expr, DURATIONS)), enter, leave)
    return not bare


# ---- what a query asks for ----


def replaced(expr: str, values: Mapping[str, str]) -> str:
    """Return a query with variables replaced, whole names only."""
    for name, value in values.items():
        expr = re.sub(re.escape(name) + r"\b", _as_is(value), expr)
    return expr


def _as_is(text: str) -> Callable[[re.Match[str]], str]:
    return lambda _: text


def selectors(expr: str) -> list[tuple[str, frozenset[str]]]:
    """Return the names of the series that a query asks for, each with the labels that it matches."""
    tree = promql.parse(replaced(expr, DURATIONS))
    return [
        (node.name or "", frozenset(matcher.name for matcher in node.matchers.matchers))
        for node, _ in nodes(tree)
        if isinstance(node, promql.VectorSelector)
    ]


def asked_for(expr: str) -> set[str]:
    """Return the names of the series that a query asks for; none if it is no PromQL."""
    try:
        return {name for name, _ in selectors(expr)}
    except ValueError:
        return set()


def grouped(expr: str) -> list[tuple[frozenset[str], frozenset[str]]]:
    """Return of each aggregation the labels that it keeps, and the names of the series below it."""
    found = []
    for node, _ in nodes(promql.parse(replaced(expr, DURATIONS))):
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            below = frozenset(each.name or "" for each, _ in nodes(node) if isinstance(each, promql.VectorSelector))
            found.append((frozenset(node.modifier.labels), below))
    return found


def nodes(tree: promql.Expr) -> list[tuple[promql.Expr, promql.Expr | None]]:
    """Return all nodes of a tree, each with the one above it."""
    found: list[tuple[promql.Expr, promql.Expr | None]] = []
    above: list[promql.Expr] = []

    def enter(node: promql.Expr) -> None:
        found.append((node, above[-1] if above else None))
        above.append(node)

    def leave(_: promql.Expr) -> None:
        above.pop()

    promql.walk(tree, enter, leave)
    return found
