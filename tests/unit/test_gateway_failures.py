"""What clients get when something goes wrong: before the first token, after it, and when the server ends."""

import asyncio
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from spillway.pool.contract import Piece, Refused
from spillway.settings import LimitSettings, Settings
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import PhaseKind
from spillway_wire.tally import COUNTERS

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Count from 2 to 5"}]


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": MESSAGES} | fields


@pytest.mark.parametrize("stream", [False, True])
def test_before_the_first_token_any_status_is_possible(house: Any, ask: Callable[..., Any], *, stream: bool) -> None:
    house.pool.answer = lambda ticket: ticket.fail(Refused(Outcome.EXPIRED, "too late", retry_after_s=3.0))
    call = ask(CHAT, chat(stream=stream))
    assert (call.status, call.headers["retry-after"], call.headers["content-type"]) == (503, "3", "application/json")


@pytest.mark.parametrize("stream", [False, True])
def test_whoever_notices_that_time_is_up_it_is_said_in_one_way(
    house: Any, ask: Callable[..., Any], *, stream: bool
) -> None:
    impatient = [(b"x-request-timeout", b"0.02")]
    house.pool.answer = lambda _: None
    ours = ask(CHAT, chat(stream=stream), headers=impatient)
    house.pool.answer = lambda ticket: ticket.fail(Refused(Outcome.EXPIRED, "too late", retry_after_s=7.0))
    pools = ask(CHAT, chat(stream=stream), headers=impatient)
    house.pool.answer = lambda ticket: ticket.fail(Refused(Outcome.EXPIRED, "the engine's"))
    engines = ask(CHAT, chat(stream=stream), headers=impatient)
    for call in (ours, pools, engines):
        assert call.error["message"] == "the request was not answered within 0.02 s"
        assert (call.headers["x-spillway-limit"], call.headers["retry-after"]) == ("deadline=0.02s", "7")
        assert float(call.headers["x-spillway-measured"].removesuffix(" s")) < 10


def test_after_the_first_token_an_error_is_an_event_and_the_end_without_done(
    house: Any, ask: Callable[..., Any]
) -> None:
    def answer(ticket: Any) -> None:
        ticket.push(Piece(0, (23,)))
        ticket.fail(Refused(Outcome.ENGINE_FAILED, "the engine died for good"))

    house.pool.answer = answer
    call = ask(CHAT, chat(stream=True))
    assert call.status == 200
    assert call.is_complete
    *chunks, last = call.events
    assert last["error"]["code"] == "engine_failed"
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)
    assert house.tally._counts[COUNTERS.index("outcome_engine_failed")] == 1


def test_a_fault_of_ours_is_an_answer_a_line_in_the_log_and_tells_no_prompt(
    house: Any, ask: Callable[..., Any]
) -> None:
    def answer(ticket: Any) -> None:
        raise RuntimeError(house.model.text.decode(ticket.work.prompt_token_ids))

    house.pool.answer = answer
    call = ask(CHAT, chat(messages=[{"role": "user", "content": "secret"}]))
    assert (call.status, call.error["type"]) == (500, "server_error")
    logged = [fields for event, fields in house.events if event == "request_failed"]
    assert "RuntimeError" in logged[0]["traceback"]
    assert "secret" not in str(house.events)
    assert "secret" not in call.text


@pytest.mark.parametrize("phase", [PhaseKind.REFUSING, PhaseKind.ENDING])
def test_a_draining_server_refuses_new_work(house: Any, ask: Callable[..., Any], phase: PhaseKind) -> None:
    house.gateway.enter_phase(phase)
    call = ask(CHAT, chat())
    assert (call.status, call.error["code"]) == (503, "server_is_overloaded")
    assert call.headers["x-spillway-outcome"] == "draining"
    assert (call.headers["x-spillway-limit"], call.headers["x-spillway-measured"]) == (
        "phase=serving",
        f"phase={phase}",
    )
    assert call.headers["retry-after"] == "1"
    assert ask("/ready", method="GET").status == 503
    assert ask("/health", method="GET").json == {"status": "healthy"}


def test_an_unready_server_still_serves(house: Any, ask: Callable[..., Any]) -> None:
    house.gateway.enter_phase(PhaseKind.UNREADY)
    assert ask("/ready", method="GET").status == 503
    assert ask(CHAT, chat()).status == 200


def test_one_line_is_logged_for_each_request_and_no_prompt(house: Any, ask: Callable[..., Any]) -> None:
    ask(CHAT, chat())
    ask(CHAT, b"{")
    lines = [fields for event, fields in house.events if event == "request"]
    assert [(line["endpoint"], line["outcome"], line["status"]) for line in lines] == [
        ("chat", "completed", 200),
        ("chat", "invalid", 400),
    ]
    assert [line["client"] for line in lines] == ["client"] * 2
    assert "Count" not in str(house.events)


def test_a_body_over_the_limit_is_too_large(gateway_house: ModuleType, asgi: ModuleType) -> None:
    house = gateway_house.House(settings=Settings(limits=LimitSettings(max_body_bytes=100)))
    call = asyncio.run(asgi.Call(house.app, CHAT, chat(user="x" * 100)).run())
    assert (call.status, call.error["code"]) == (413, "request_too_large")
    assert house.tally._counts[COUNTERS.index("outcome_too_large")] == 1
