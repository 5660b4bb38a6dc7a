"""Every outcome as HTTP."""

import asyncio
import json
from types import ModuleType

import pytest

from spillway.gateway.problems import KINDS, Problem, body, headers
from spillway.pool.contract import Refused
from spillway_wire.outcomes import Outcome

DESIGN = {
    Outcome.INVALID: (400, "invalid_request_error", None),
    Outcome.TOO_LARGE: (400, "invalid_request_error", "context_length_exceeded"),
    Outcome.UNKNOWN_MODEL: (404, "invalid_request_error", "model_not_found"),
    Outcome.UNAUTHENTICATED: (401, "authentication_error", "invalid_api_key"),
    Outcome.FORBIDDEN: (403, "permission_error", None),
    Outcome.QUOTA: (429, "rate_limit_error", "rate_limit_exceeded"),
    Outcome.OVERLOADED: (429, "rate_limit_error", "slow_down"),
    Outcome.EXPIRED: (503, "service_unavailable_error", "server_is_overloaded"),
    Outcome.DRAINING: (503, "service_unavailable_error", "server_is_overloaded"),
    Outcome.NO_ENGINE: (503, "service_unavailable_error", "server_is_overloaded"),
    Outcome.ENGINE_FAILED: (500, "server_error", "engine_failed"),
    Outcome.GATEWAY_FAILED: (500, "server_error", "gateway_failed"),
    Outcome.INTERNAL: (500, "server_error", None),
}


def test_every_outcome_but_a_good_one_has_its_place_in_the_table() -> None:
    assert set(KINDS) == set(Outcome) - {Outcome.COMPLETED}


@pytest.mark.parametrize("outcome", DESIGN)
def test_status_type_and_code_are_those_of_the_documented_api(outcome: Outcome) -> None:
    problem = Problem(outcome, "why")
    assert (problem.status, problem.type, problem.code) == DESIGN[outcome]


def test_a_body_has_all_four_keys_of_openai_and_what_spillway_knows_beside_them() -> None:
    said = json.loads(body(Problem(Outcome.OVERLOADED, "why", limit="max_queued_requests=8", measured="8")))
    assert set(said) == {"error"}
    assert {key: said["error"][key] for key in ("message", "type", "param", "code")} == {
        "message": "why",
        "type": "rate_limit_error",
        "param": None,
        "code": "slow_down",
    }
    assert said["error"]["spillway"] == {
        "outcome": "overloaded",
        "limit": "max_queued_requests=8",
        "measured": "8",
    }


def test_headers_say_the_same_as_the_body() -> None:
    said = dict(headers(Problem(Outcome.OVERLOADED, "why", limit="max_queued_requests=8", measured="8")))
    assert said[b"x-spillway-outcome"] == b"overloaded"
    assert said[b"x-spillway-limit"] == b"max_queued_requests=8"
    assert said[b"x-spillway-measured"] == b"8"


@pytest.mark.parametrize(
    ("wait_s", "seconds", "milliseconds"),
    [(0.01, b"1", b"1000"), (1.2, b"2", b"1200"), (30.0, b"30", b"30000"), (999.0, b"120", b"120000")],
)
def test_a_time_to_come_back_is_told_in_whole_seconds_and_within_what_clients_obey(
    wait_s: float, seconds: bytes, milliseconds: bytes
) -> None:
    said = dict(headers(Problem(Outcome.NO_ENGINE, "why", retry_after_s=wait_s)))
    assert said[b"retry-after"] == seconds
    assert said[b"retry-after-ms"] == milliseconds


@pytest.mark.parametrize("outcome", [Outcome.OVERLOADED, Outcome.EXPIRED, Outcome.DRAINING, Outcome.NO_ENGINE])
def test_what_passes_by_itself_always_says_when_to_come_back(outcome: Outcome) -> None:
    assert b"retry-after" in dict(headers(Problem(outcome, "why")))


def test_what_would_only_fail_again_says_so_and_no_time() -> None:
    problem = Problem.of(Refused(Outcome.ENGINE_FAILED, "poison", should_retry=False, retry_after_s=5.0))
    said = dict(headers(problem))
    assert said[b"x-should-retry"] == b"false"
    assert b"retry-after" not in said


def test_a_header_cannot_be_broken_by_what_was_measured() -> None:
    said = dict(headers(Problem(Outcome.QUOTA, "why", limit="a\r\nset-cookie: b", measured="ü")))
    assert said[b"x-spillway-limit"] == b"a??set-cookie: b"
    assert said[b"x-spillway-measured"] == b"?"


def test_what_the_pool_says_reaches_the_client_unchanged() -> None:
    refused = Refused(Outcome.QUOTA, "enough", retry_after_s=7.0, limit="tokens=5", measured="6")
    problem = Problem.of(refused)
    assert (problem.message, problem.retry_after_s, problem.limit, problem.measured) == ("enough", 7.0, "tokens=5", "6")


def test_litestars_own_refusals_have_the_same_body(gateway_house: ModuleType, asgi: ModuleType) -> None:
    async def main() -> None:
        app = gateway_house.House().app
        missing = await asgi.Call(app, "/nowhere", method="GET").run()
        assert (missing.status, missing.error["code"]) == (404, None)
        assert missing.error["message"] == "Invalid URL (GET /nowhere)"
        wrong = await asgi.Call(app, "/generate", method="PUT").run()
        assert (wrong.status, wrong.headers["allow"]) == (405, "POST, OPTIONS")
        assert set(wrong.error) >= {"message", "type", "param", "code"}
        assert all("x-request-id" in each.headers for each in (missing, wrong))

    asyncio.run(main())
