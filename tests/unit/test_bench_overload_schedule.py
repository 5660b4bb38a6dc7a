"""What the load generator asks and when: as much as was said, in order, mixed alike, no prompt a second time."""

import itertools
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.bench.overload.firing import split
from spillway.bench.overload.plan import Plan
from spillway.bench.overload.schedule import Phase, arrivals, merged
from spillway.bench.overload.work import NOBODY, OUTPUT_TOKENS, PROMPT_TOKENS, CountingWork, Sender, TokenWork
from spillway.bench.streams import Count

PHASES = st.lists(st.builds(Phase, st.floats(0.1, 50), st.floats(0.1, 20)), min_size=1, max_size=4)
WORDS = TokenWork("small", vocab_size=100, tokens_are_words=True)


@given(PHASES, st.text(max_size=5))
def test_a_phase_has_as_many_arrivals_as_its_rate_says_and_all_within_it(phases: list[Phase], seed: str) -> None:
    times = arrivals(phases, seed)
    assert times == sorted(times) == arrivals(phases, seed)
    bounds = list(itertools.accumulate((phase.seconds for phase in phases), initial=0.0))
    assert len(times) == sum(round(phase.rate * phase.seconds) for phase in phases)
    assert all(bounds[0] <= time <= bounds[-1] for time in times)
    for phase, begin, end in zip(phases, bounds, bounds[1:], strict=False):
        assert sum(begin < time < end for time in times) <= round(phase.rate * phase.seconds)


def test_gaps_are_those_of_a_poisson_process() -> None:
    times = arrivals([Phase(100.0, 200.0)], "gaps")
    gaps = [after - before for before, after in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert mean == pytest.approx(0.01, rel=0.02)
    assert variance == pytest.approx(mean**2, rel=0.1)


def test_schedules_are_merged_in_order_and_remember_whose_they_are() -> None:
    assert merged([[1.0, 4.0], [2.0], []]) == [(1.0, 0), (2.0, 1), (4.0, 0)]


def test_every_deck_of_requests_holds_every_pair_of_lengths_once() -> None:
    pairs = len(PROMPT_TOKENS) * len(OUTPUT_TOKENS)
    shots = WORDS.shots([(float(at), NOBODY) for at in range(3 * pairs)], "deck")
    lengths = [(len(json.loads(shot.body)["prompt"]), shot.expected.num_tokens) for shot in shots]
    for deck in (lengths[:pairs], lengths[pairs : 2 * pairs], lengths[2 * pairs :]):
        assert Counter(deck) == Counter(itertools.product(PROMPT_TOKENS, OUTPUT_TOKENS))


def test_requests_are_the_same_for_a_seed_and_share_no_prompt_with_another() -> None:
    due = [(0.5, NOBODY), (1.5, NOBODY)]
    assert WORDS.shots(due, "1x") == WORDS.shots(due, "1x")
    prompts = [json.loads(shot.body)["prompt"] for seed in ("1x", "2x") for shot in WORDS.shots(due, seed)]
    assert len({tuple(prompt[:16]) for prompt in prompts}) == 4
    assert all(0 < token < 100 for prompt in prompts for token in prompt)


def test_a_request_is_streamed_has_a_fixed_length_and_says_whose_it_is() -> None:
    sender = Sender(group="bulk", fields={"service_tier": "flex"}, headers={"Authorization": "Bearer k"})
    (shot,) = WORDS.shots([(2.0, sender)], "one")
    body = json.loads(shot.body)
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert body["min_tokens"] == body["max_tokens"] == shot.expected.num_tokens == shot.expected.num_words
    assert body["service_tier"] == "flex"
    assert (shot.due_s, shot.group, shot.headers) == (2.0, "bulk", {"Authorization": "Bearer k"})


def test_counting_asks_every_length_and_expects_the_numbers() -> None:
    work = CountingWork({2: [Count(3, 4)], 3: [Count(7, 9)]})
    shots = work.shots([(0.0, NOBODY), (1.0, NOBODY)], "count")
    assert {shot.expected.text for shot in shots} == {"3 4", "7 8 9"}
    assert {shot.expected.num_tokens for shot in shots} == {3, 4}


@given(st.integers(1, 9), st.integers(1, 12), st.none() | st.integers(1, 12))
def test_generators_share_all_work_and_nobody_is_idle(processes: int, num_shots: int, in_flight: int | None) -> None:
    shots = WORDS.shots([(float(at), NOBODY) for at in range(num_shots)], "split")
    parts = split(Plan(host="h", port=1, shots=shots, patience_s=1.0, in_flight=in_flight), processes)
    assert sorted(shot.number for part in parts for shot in part.shots) == list(range(num_shots))
    assert all(part.shots for part in parts)
    if in_flight is not None:
        assert sum(part.in_flight or 0 for part in parts) == in_flight
