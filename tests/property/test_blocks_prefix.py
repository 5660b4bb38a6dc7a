"""The prefix index against comparing tokens: what it finds is the longest prefix that was registered."""

from hypothesis import given, settings
from hypothesis import strategies as st

from spillway_engine.memory.prefix import ROOT, PrefixIndex

BLOCK = 2
prompts = st.lists(st.integers(0, 2), max_size=9)
salts = st.sampled_from(["", "a"])


@settings(max_examples=300, deadline=None)
@given(known=st.lists(st.tuples(prompts, salts), max_size=6), wanted=prompts, salt=salts)
def test_finds_the_longest_registered_prefix(known: list[tuple[list[int], str]], wanted: list[int], salt: str) -> None:
    index = PrefixIndex(64, BLOCK)
    holds: dict[int, tuple[str, tuple[int, ...]]] = {}
    for prompt, prompt_salt in known:
        node = ROOT
        for end in range(BLOCK, len(prompt) + 1, BLOCK):
            block = len(holds)
            node, new = index.register(node, prompt[end - BLOCK : end], prompt_salt, block)
            prefix = (prompt_salt, tuple(prompt[:end]))
            assert new == (prefix not in holds.values())
            if new:
                holds[block] = prefix

    most = len(wanted) // BLOCK
    blocks, _ = index.match(wanted, salt, most)

    assert [holds[block] for block in blocks] == [
        (salt, tuple(wanted[:end])) for end in range(BLOCK, len(blocks) * BLOCK + 1, BLOCK)
    ]
    assert len(blocks) == most or (salt, tuple(wanted[: (len(blocks) + 1) * BLOCK])) not in holds.values()
    assert len(index) == len(holds)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), first=st.lists(prompts, min_size=1, max_size=5), wanted=prompts)
def test_never_finds_what_is_not_the_prompts_also_after_evictions(
    data: st.DataObject, first: list[list[int]], wanted: list[int]
) -> None:
    index = PrefixIndex(64, BLOCK)
    holds: dict[int, tuple[int, ...]] = {}
    number = 0
    for prompt in first:
        node = ROOT
        for end in range(BLOCK, len(prompt) + 1, BLOCK):
            node, new = index.register(node, prompt[end - BLOCK : end], "", number)
            if new:
                holds[number] = tuple(prompt[:end])
                number += 1
            evicts = data.draw(st.booleans(), label="evicts")
            if holds and evicts:
                gone = data.draw(st.sampled_from(sorted(holds)))
                index.forget(gone)
                del holds[gone]

    blocks, _ = index.match(wanted, "", len(wanted) // BLOCK)

    for found, block in enumerate(blocks, 1):
        assert holds[block] == tuple(wanted[: found * BLOCK])
    assert index.blocks() == set(holds)


def test_a_forgotten_block_cuts_off_what_lies_behind_it_for_good() -> None:
    index = PrefixIndex(4, BLOCK)
    first, _ = index.register(ROOT, [1, 1], "", 0)
    index.register(first, [2, 2], "", 1)
    index.forget(0)
    assert index.match([1, 1, 2, 2], "", 2) == ([], ROOT)

    again, new = index.register(ROOT, [1, 1], "", 2)

    assert new
    assert again != first
    assert index.match([1, 1, 2, 2], "", 2) == ([2], again)


def test_tokens_and_salts_do_not_run_into_each_other() -> None:
    index = PrefixIndex(4, BLOCK)
    index.register(ROOT, [1, 0], "", 0)
    assert index.match([1, 0], "x", 1) == ([], ROOT)
    assert index.match([1, 256], "", 1) == ([], ROOT)
    assert index.match([0, 1], "", 1) == ([], ROOT)


def test_a_nodes_number_is_never_used_again() -> None:
    index = PrefixIndex(4, BLOCK)
    first, _ = index.register(ROOT, [1, 1], "", 0)
    second, _ = index.register(first, [2, 2], "", 1)
    index.register(second, [3, 3], "", 2)
    index.forget(0)
    index.forget(1)

    index.register(ROOT, [9, 9], "", 3)

    assert index.match([9, 9, 3, 3], "", 2)[0] == [3]
