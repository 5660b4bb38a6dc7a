"""Whatever comes in and whatever happens: one arrival, one outcome, nothing left; and no body makes a server fault."""

import asyncio
import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from spillway.gateway.body import Reader, check_depth
from spillway.gateway.problems import Problem
from spillway.gateway.schema import REQUESTS
from spillway.pool.contract import Piece, Refused
from spillway_wire.messages import Finish, Usage
from spillway_wire.outcomes import FinishReason, Outcome
from spillway_wire.plane import PhaseKind
from spillway_wire.tally import CLIENTS_DISCONNECTED, COUNTERS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["model", "messages", "prompt", "prompts", "n", "stop", "temperature", "logit_bias", "stream", "seed", "tools", "x"]
)
BODIES = st.binary(max_size=40) | st.dictionaries(FIELDS, JSON, max_size=5).map(
    lambda fields: json.dumps(fields).encode()
)


def problem_of(check: Callable[..., object], *given: object) -> Problem | None:
    try:
        check(*given)
    except Problem as problem:
        return problem
    return None


@settings(deadline=None)
@given(BODIES)
def test_every_body_is_a_request_or_a_problem_of_the_clients(raw: bytes) -> None:
    for kind in REQUESTS:
        problem = problem_of(Reader(kind, max_depth=8), raw)
        assert problem is None or (problem.status == 400 and problem.message)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(JSON, st.integers(0, 6))
def test_the_depth_of_a_body_is_that_of_its_brackets(value: Any, max_depth: int) -> None:
    raw = json.dumps(value).encode()
    assert (problem_of(check_depth, raw, max_depth) is not None) == (depth_of(value) > max_depth)


GOOD = [
    ("/v1/chat/completions", {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}),
    ("/v1/completions", {"model": "demo", "prompt": ["hi", "ho"]}),
    ("/generate", {"prompt": "hi", "stop": "3"}),
    ("/generate_batch", {"prompts": ["a", "b", "c"]}),
]
BAD = [("/generate", b"{"), ("/generate", {"prompt": 5}), ("/v1/chat/completions", {"model": "x", "messages": []})]
EVENTS = st.sampled_from(["piece", "finish", "fail", "leave", "turn", "cancel", "end", "stuck"])


@settings(deadline=None)
@given(
    requests=st.lists(
        st.tuples(st.sampled_from(GOOD + BAD), st.booleans(), st.integers(1, 3)),
        min_size=1,
        max_size=4,
    ),
    events=st.lists(st.tuples(EVENTS, st.integers(0, 20)), max_size=30),
)
def test_every_arrival_has_exactly_one_outcome_and_leaves_nothing(
    gateway_house: ModuleType, asgi: ModuleType, requests: list[Any], events: list[tuple[str, int]]
) -> None:
    async def main() -> None:
        house = gateway_house.House()
        house.pool.answer = gateway_house.silent
        calls, tasks = [], []
        for (path, fields), stream, n in requests:
            body = {**fields, "stream": stream, "n": n} if isinstance(fields, dict) else fields
            calls.append(asgi.Call(house.app, path, body))
            tasks.append(asyncio.create_task(calls[-1].run()))
        for kind, place in events:
            happen(house, calls[place % len(calls)], tasks[place % len(tasks)], kind, place)
            counts = house.tally._counts
            assert counts[0] - sum(counts[1 : 1 + len(Outcome)]) == house.tally.open_requests >= 0
            await asyncio.sleep(0)
        for call in calls:
            call.leave()
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks, return_exceptions=True)
        await asgi.settled(lambda: not asgi.other_tasks())
        counts = house.tally._counts
        begun = counts[0]
        assert sum(counts[COUNTERS.index(f"outcome_{outcome.value}")] for outcome in Outcome) == begun
        assert begun == len([fields for event, fields in house.events if event == "request"])
        assert counts[CLIENTS_DISCONNECTED] == counts[COUNTERS.index("outcome_client_gone")]
        assert house.gateway.num_open == house.pool.num_open == 0
        assert not [fields for event, fields in house.events if event == "request_failed"]

    asyncio.run(main())


def happen(house: Any, call: Any, task: asyncio.Task[Any], kind: str, place: int) -> None:
    """Let something happen to a request, or to one of the tickets."""
    ticket = house.pool.tickets[place % len(house.pool.tickets)] if house.pool.tickets else None
    if kind == "leave":
        call.leave()
    elif kind == "cancel":
        task.cancel()
    elif kind == "end":
        house.gateway.enter_phase(PhaseKind.ENDING)
    elif kind == "stuck":
        call.stop_reading()
    elif ticket is not None and kind == "piece":
        ticket.push(Piece(place % ticket.work.num_choices, (23, 2013)))
    elif ticket is not None and kind == "finish":
        usage = Usage(prompt_tokens=1, cached_tokens=0, output_tokens=1)
        finish = Finish(outcome=Outcome.COMPLETED, reason=FinishReason.LENGTH, usage=usage)
        for choice in sorted(ticket._open):
            ticket.push(Piece(choice, (23,), finish=finish))
    elif ticket is not None and kind == "fail":
        ticket.fail(Refused(Outcome.ENGINE_FAILED, "it died"))
