"""Declared rules: the first one that matches chooses, and a rule matches exactly when all of its conditions hold."""

from dataclasses import fields, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from spillway.gateway.routes import Asked, matches, route
from spillway.settings import RouteRule

NAMES = st.sampled_from(["chat", "long", "batch"])
TIERS = st.sampled_from(["default", "flex", "priority"])
TENANTS = st.sampled_from(["acme", "anonymous"])
SMALL = st.integers(-3, 3)
HEADERS = st.dictionaries(st.sampled_from(["x-team", "x-job"]), st.sampled_from(["red", "blue"]))
ALIASES = {"gpt": "chat", "chat": "chat", "long": "long", "batch": "batch"}

RULES = st.builds(
    RouteRule,
    to=NAMES,
    model=st.none() | st.sampled_from(sorted(ALIASES)),
    tenant=st.none() | TENANTS,
    tier=st.none() | TIERS,
    priority_at_least=st.none() | SMALL,
    priority_at_most=st.none() | SMALL,
    prompt_tokens_at_least=st.none() | st.integers(1, 5),
    prompt_tokens_at_most=st.none() | st.integers(1, 5),
    header=HEADERS,
)


@st.composite
def requests(draw: st.DrawFn) -> Asked:
    named = draw(st.sampled_from(sorted(ALIASES)))
    return Asked(
        named=named,
        model=ALIASES[named],
        tenant=draw(TENANTS),
        tier=draw(TIERS),
        priority=draw(SMALL),
        prompt_tokens=draw(st.integers(0, 6)),
        headers=[(name.encode(), value.encode()) for name, value in draw(HEADERS).items()],
    )


CONDITIONS = [field.name for field in fields(RouteRule) if field.name != "to"]


@settings(deadline=None)
@given(st.lists(RULES, max_size=4), requests())
def test_the_first_rule_that_matches_chooses_and_without_one_the_model_named_serves(
    rules: list[RouteRule], asked: Asked
) -> None:
    matching = [rule.to for rule in rules if matches(rule, asked)]
    assert route(rules, asked) == (matching or [asked.model])[0]


@settings(deadline=None)
@given(RULES, requests())
def test_a_rule_matches_exactly_when_each_of_its_conditions_alone_does(rule: RouteRule, asked: Asked) -> None:
    alone = [RouteRule(to=rule.to, **{name: getattr(rule, name)}) for name in CONDITIONS]
    assert matches(rule, asked) == all(matches(each, asked) for each in alone)
    assert matches(RouteRule(to=rule.to), asked)


@settings(deadline=None)
@given(requests(), st.integers(0, 6), st.integers(0, 6))
def test_bounds_include_their_ends(asked: Asked, least: int, most: int) -> None:
    rule = RouteRule(to="long", prompt_tokens_at_least=least, prompt_tokens_at_most=most)
    assert matches(rule, asked) == (asked.prompt_tokens in range(least, most + 1))
    rule = RouteRule(to="long", priority_at_least=least - 3, priority_at_most=most - 3)
    assert matches(rule, asked) == (asked.priority in range(least - 3, most - 2))


@settings(deadline=None)
@given(requests())
def test_a_model_stands_for_its_aliases_and_an_alias_for_itself(asked: Asked) -> None:
    assert matches(RouteRule(to="long", model="chat"), asked) == (asked.named in {"chat", "gpt"})
    assert matches(RouteRule(to="long", model="gpt"), asked) == (asked.named == "gpt")


@settings(deadline=None)
@given(requests())
def test_a_header_is_known_in_any_case_and_its_value_only_as_it_is(asked: Asked) -> None:
    sent = replace(asked, headers=[*asked.headers, (b"x-cost", b"Low")])
    assert matches(RouteRule(to="long", header={"X-Cost": "Low"}), sent)
    assert not matches(RouteRule(to="long", header={"x-cost": "low"}), sent)
    assert not matches(RouteRule(to="long", header={"x-cost": "Low"}), asked)
