"""A status as metrics: totals that never reset, gauges only of what lives, and arrivals that add up."""

from types import ModuleType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from spillway.ops.status_families import families, families_of_silence
from spillway.telemetry.metrics.exposition import Exposition
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import ExitCause
from spillway_wire.tally import COUNTERS

Sample = tuple[str, frozenset[tuple[str, str]]]


def samples(status: dict[str, Any], accept: str = "") -> dict[Sample, float]:
    body, _ = Exposition().encode(families(status), accept)
    parse = parse_openmetrics if "openmetrics" in accept else parse_text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(body.decode())
        for sample in family.samples
    }


def value(found: dict[Sample, float], name: str, **labels: str) -> float | None:
    return found.get((f"spillway_{name}", frozenset(labels.items())))


ENGINE = {"engine": "engine-0", "model": "demo"}


def test_a_healthy_status_says_what_an_operator_asks_first(fake_supervisor: ModuleType) -> None:
    found = samples(fake_supervisor.status())

    assert value(found, "ready") == 1
    assert value(found, "arrivals_total", gateway="gateway-0") == 12
    assert value(found, "outcomes_total", gateway="gateway-0", outcome="completed") == 9
    assert value(found, "outcomes_total", gateway="gateway-0", outcome="engine_failed") == 0
    assert value(found, "open_requests", gateway="gateway-0") == 2
    assert value(found, "gateway_loop_lag_seconds", gateway="gateway-0") == 0.0015
    assert value(found, "num_requests_running", **ENGINE) == 3
    assert value(found, "num_requests_waiting", **ENGINE) == 1
    assert value(found, "kv_cache_usage_ratio", **ENGINE) == 0.25
    assert value(found, "kv_blocks_free", **ENGINE) == 75
    assert value(found, "engine_state", **ENGINE, state="ready") == 1
    assert value(found, "engine_state", **ENGINE, state="parked") == 0
    assert value(found, "engine_steps_total", **ENGINE) == 10
    assert value(found, "redis_up") == 1
    assert value(found, "supervisor_resident_memory_bytes") == 30_000_000
    assert value(found, "supervisor_uptime_seconds") == 12.5


def test_the_gauges_of_the_dead_vanish_and_their_totals_stay(fake_supervisor: ModuleType) -> None:
    dead = fake_supervisor.engine(state="backoff", pid=None, restarts={"signal": 2, "hang": 1})
    found = samples(
        fake_supervisor.status(engines=[dead], gateways=[fake_supervisor.gateway(state="crashed", pid=None)])
    )

    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_ratio", "kv_blocks", "kv_blocks_free"):
        assert value(found, name, **ENGINE) is None
    assert value(found, "gateway_loop_lag_seconds", gateway="gateway-0") is None
    assert value(found, "engine_steps_total", **ENGINE) == 10
    assert value(found, "engine_restarts_total", **ENGINE, cause="signal") == 2
    assert value(found, "arrivals_total", gateway="gateway-0") == 12
    assert value(found, "ready") == 0


def test_the_facts_of_a_beat_are_gauges_of_that_gateway_and_those_of_a_model_bear_its_name(
    fake_supervisor: ModuleType,
) -> None:
    facts = {
        "queued_requests": 4.0,
        "wait_p99_s": 0.5,
        "pressure.llama-3.1": 0.75,
        "Not a name": 1.0,
        "loop_lag_s": 9.0,
    }
    facts["loop_lag_s"] = 9.0
    found = samples(fake_supervisor.status(gateways=[fake_supervisor.gateway(facts=facts)]))

    assert value(found, "gateway_queued_requests", gateway="gateway-0") == 4
    assert value(found, "gateway_wait_p99_seconds", gateway="gateway-0") == 0.5
    assert value(found, "gateway_pressure", gateway="gateway-0", model="llama-3.1") == 0.75
    assert value(found, "gateway_loop_lag_seconds", gateway="gateway-0") == 0.0015  # a name that is taken stays so
    names = {name for name, _ in found if name.startswith("spillway_gateway_")}
    assert len(names - {"spillway_gateway_restarts_total"}) == 5


def test_every_cause_of_a_restart_is_there_from_the_start(fake_supervisor: ModuleType) -> None:
    found = samples(fake_supervisor.status(engines=[fake_supervisor.engine(restarts={"hang": 2})]))
    for cause in ExitCause:
        assert value(found, "engine_restarts_total", **ENGINE, cause=cause.value) == (2 if cause == "hang" else 0)
        assert value(found, "gateway_restarts_total", gateway="gateway-0", cause=cause.value) == 0


def test_facts_of_engines_bear_the_name_of_the_engine(fake_supervisor: ModuleType) -> None:
    facts = {"engine_limit.engine-1": 8.0, "step_per_token_s.engine-1": 0.5}
    found = samples(fake_supervisor.status(gateways=[fake_supervisor.gateway(facts=facts)]))
    assert value(found, "gateway_engine_limit", gateway="gateway-0", engine="engine-1") == 8
    assert value(found, "gateway_step_per_token_seconds", gateway="gateway-0", engine="engine-1") == 0.5


def test_what_a_gateway_that_is_gone_left_open_is_a_gap_in_the_books(fake_supervisor: ModuleType) -> None:
    open_requests = {"arrivals": 12, "outcome_completed": 9}
    alive, gone = fake_supervisor.gateway(), fake_supervisor.gateway(pid=None, counters=open_requests)
    settled = fake_supervisor.gateway(pid=None, counters=open_requests | {"outcome_gateway_failed": 3})
    for gateways, gap in (([alive, settled], 0), ([alive, gone], 3), ([gone, gone], 6)):
        assert value(samples(fake_supervisor.status(gateways=gateways)), "conservation_gap_requests") == gap


def test_redis_says_its_state_and_how_fast_it_answers(fake_supervisor: ModuleType) -> None:
    redis = {"pid": 401, "state": "ready", "answer_s": 0.0002, "restarts": {"signal": 1}}
    found = samples(fake_supervisor.status(redis=redis))
    assert value(found, "redis_state", state="ready") == 1
    assert value(found, "redis_state", state="crashed") == 0
    assert value(found, "redis_answer_seconds") == 0.0002
    assert value(found, "redis_restarts_total", cause="signal") == 1


def test_no_sample_bears_an_incarnation(fake_supervisor: ModuleType) -> None:
    found = samples(fake_supervisor.status())

    assert found
    assert all("incarnation" not in dict(labels) for _, labels in found)


def test_both_forms_say_the_same(fake_supervisor: ModuleType) -> None:
    status = fake_supervisor.status()

    assert samples(status) == samples(status, "application/openmetrics-text; version=1.0.0")


def test_a_bare_status_is_no_reason_to_fail() -> None:
    assert value(samples({}), "ready") == 0
    assert value(samples({"engines": [{"id": "engine-0"}], "gateways": [{"id": "gateway-0"}]}), "ready") == 0


def test_names_that_need_escaping_come_through(fake_supervisor: ModuleType) -> None:
    name = 'a"b\\c\nd'
    found = samples(fake_supervisor.status(engines=[fake_supervisor.engine(model=name)]))

    assert value(found, "num_requests_running", engine="engine-0", model=name) == 3


def test_a_supervisor_that_is_silent_is_said_to_be() -> None:
    body, _ = Exposition().encode(families_of_silence(), "")

    assert {sample.name: sample.value for family in parse_text(body.decode()) for sample in family.samples} == {
        "spillway_ready": 0,
        "spillway_supervisor_answers": 0,
    }


@given(st.fixed_dictionaries({name: st.integers(0, 2**40) for name in COUNTERS}))
def test_arrivals_are_outcomes_and_open_requests_in_every_scrape(counters: dict[str, int]) -> None:
    ended = sum(counters[f"outcome_{outcome.value}"] for outcome in Outcome)
    counters["arrivals"] += ended  # an outcome is counted after its arrival

    found = samples({"gateways": [{"id": "gateway-0", "counters": counters}]})

    outcomes = [number for (name, _), number in found.items() if name == "spillway_outcomes_total"]
    assert len(outcomes) == len(Outcome)
    total = value(found, "arrivals_total", gateway="gateway-0")
    assert total == counters["arrivals"]
    assert sum(outcomes) + (value(found, "open_requests", gateway="gateway-0") or 0) == total
