"""Routing: never to an engine that may not be sent to, and always to the one with the least before the first token."""

from hypothesis import given
from hypothesis import strategies as st

from spillway.pool.capacity import Estimate
from spillway.pool.prefix import BLOCK_TOKENS, PrefixMemory, prefix_of
from spillway.pool.router import SHARE_TOKENS, Candidate, Need, choose, score
from spillway_wire.messages import Capacity

CAPACITY = Capacity(max_num_seqs=8, max_num_batched_tokens=64, max_model_len=4096, num_blocks=512, block_size=16)

estimates = st.builds(Estimate, st.integers(0, 12), st.integers(0, 512), st.integers(0, 3000))
candidates = st.lists(
    st.builds(
        Candidate,
        engine_id=st.sampled_from(["a", "b", "c", "d"]),
        credits=st.integers(0, 2),
        capacity=st.just(CAPACITY),
        estimate=estimates,
        matched_tokens=st.integers(0, 40).map(lambda blocks: blocks * BLOCK_TOKENS),
        last_chosen=st.integers(0, 5),
    ),
    unique_by=lambda candidate: candidate.engine_id,
)
needs = st.builds(Need, num_tokens=st.integers(1, 4000), num_sequences=st.integers(1, 10), fresh=st.booleans())


@given(candidates=candidates, need=needs)
def test_only_engines_that_have_credit_are_chosen_and_of_them_the_best(candidates: list[Candidate], need: Need) -> None:
    able = [c for c in candidates if c.credits > 0 or not need.fresh]
    chosen = choose(candidates, need)
    if chosen is None:
        assert not able
    else:
        assert chosen in able
        assert score(chosen, need) == min(score(candidate, need) for candidate in able)


@given(
    num_tokens=st.integers(1, 2000),
    matched=st.integers(0, 2000),
    sequences=st.integers(1, 7),
    prefill=st.integers(0, 2000),
)
def test_an_idle_engine_beats_a_busy_one_unless_its_cache_saves_more_than_its_queue_costs(
    num_tokens: int, matched: int, sequences: int, prefill: int
) -> None:
    matched = min(matched, num_tokens)
    idle = Candidate(engine_id="idle", credits=1, capacity=CAPACITY, estimate=Estimate(0, 512, 0))
    busy = Candidate(
        engine_id="busy", credits=1, capacity=CAPACITY,
        estimate=Estimate(sequences, 512, prefill), matched_tokens=matched,
    )  # fmt: skip
    chosen = choose([busy, idle], Need(num_tokens=num_tokens, num_sequences=1))
    assert chosen is not None
    saved = num_tokens - max(1, num_tokens - matched)
    cost = prefill + SHARE_TOKENS * sequences
    if saved < cost:
        assert chosen.engine_id == "idle"
    elif saved > cost:
        assert chosen.engine_id == "busy"


@given(
    prompts=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=60), min_size=1, max_size=6),
    asked=st.lists(st.integers(0, 2), max_size=60),
)
def test_affinity_matches_just_the_longest_common_prefix_in_full_blocks(
    prompts: list[list[int]], asked: list[int]
) -> None:
    memory = PrefixMemory(1000)
    for prompt in prompts:
        memory.remember(prefix_of(prompt))
    longest = 0
    for prompt in prompts:
        for end in range(BLOCK_TOKENS, min(len(prompt), len(asked)) + 1, BLOCK_TOKENS):
            if prompt[:end] == asked[:end]:
                longest = max(longest, end)
    assert memory.match(prefix_of(asked)) == longest
