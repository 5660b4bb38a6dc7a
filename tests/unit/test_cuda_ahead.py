"""Running ahead on a device without a model: the right tokens, whatever is thrown away, however late it runs.

The program here computes nothing and checks everything: it writes what it is given into the cache that the tables
name, reads each sequence back from there, and samples a hash of it.
"""

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spillway_engine.core import EngineCore
from spillway_engine.cuda import words as w
from spillway_engine.cuda.ahead import Expected, match, next_pieces
from spillway_engine.cuda.choosing import Choosing
from spillway_engine.cuda.inputs import Extent, Inputs
from spillway_engine.cuda.runner import CudaRunner
from spillway_engine.cuda.tiles import AttentionTiles
from spillway_engine.errors import DeviceError
from spillway_engine.plan import Row
from spillway_engine.request import Request, Sequence
from spillway_engine.settings import SchedulerSettings
from spillway_wire.messages import Submit
from spillway_wire.sampling import SamplingParams

SIZE = 4
CONTEXT = 32
TILES = AttentionTiles(rows=8, keys=4, split=8, warps=1, stages=1)


class CheckingProgram:
    """Stands in for `Program`."""

    def __init__(self, limits: SchedulerSettings, oracle: ModuleType) -> None:
        slots, vocab = limits.max_num_seqs, oracle.VOCAB
        self.next_token = oracle.next_token
        self.shape = SimpleNamespace(vocab_size=vocab, group_size=2)
        self.tiles = TILES
        self.choosing = Choosing.allocate(slots, vocab, 1, torch.device("cpu"))
        self.buffers = SimpleNamespace(
            part_output=torch.zeros(6, 1), tables=torch.zeros(slots + 1, limits.max_blocks_per_seq, dtype=torch.int32)
        )
        self.held = torch.full((limits.num_blocks, SIZE, 2), -1)
        """(token, position) of each slot of each block."""
        self.cache = SimpleNamespace(scrub=lambda block: self.held[block].fill_(-1))

    def forward(self, inputs: Inputs[torch.Tensor], extent: Extent) -> Any:
        updates = int(inputs.num_updates[0])
        self.buffers.tables.view(-1)[inputs.update_places[:updates].long()] = inputs.update_blocks[:updates]
        for token, position, slot in zip(inputs.tokens, inputs.positions, inputs.slots, strict=True):
            if position >= 0:
                known = int(self.choosing.latest[slot]) if token < 0 else int(token)
                self.held[self.buffers.tables[slot, position // SIZE], position % SIZE] = torch.tensor(
                    [known, position]
                )
        return "residue"

    def finish(self, inputs: Inputs[torch.Tensor], extent: Extent, residue: Any) -> None:
        assert residue == "residue"
        words = inputs.words.view(-1, w.WORDS)
        for row in range(extent.rows):
            slot = int(words[row, w.SLOT])
            position = int(inputs.positions[inputs.pick[row]])
            if position < 0 or slot == len(self.choosing.token_ids):
                continue
            tokens = []
            for at in range(position + 1):
                token, where = self.held[self.buffers.tables[slot, at // SIZE], at % SIZE].tolist()
                assert where == at, "the cache holds something else there"
                tokens.append(token)
            seed = int(words[row, w.SEED_LOW])
            self.choosing.token_ids[row] = self.next_token(tokens, seed, int(words[row, w.CHOICE]))
            self.choosing.latest[slot] = self.choosing.token_ids[row]

    def run(self, inputs: Inputs[torch.Tensor], extent: Extent) -> None:
        self.finish(inputs, extent, self.forward(inputs, extent))


class House:
    """A core over such a program."""

    def __init__(self, oracle: ModuleType, device: Any, *, graphs: bool = True, **limits: Any) -> None:
        self.limits = SchedulerSettings(
            **{
                "max_num_seqs": 4, "max_num_batched_tokens": 12, "max_model_len": CONTEXT, "block_size": SIZE,
                "num_blocks": 20, "runs_ahead": True, **limits,
            }
        )  # fmt: skip
        self.device = device
        program: Any = CheckingProgram(self.limits, oracle)
        self.runner = CudaRunner(device, program, self.limits, eos_token_ids=(oracle.EOS,))
        if graphs:
            self.runner.record(lambda _phase, _share: None)
        self.core = EngineCore(self.limits, self.runner, vocab_size=oracle.VOCAB, eos_token_ids=(oracle.EOS,))
        self.found: dict[str, list[int]] = {}

    def submit(self, name: str, prompt: list[int], **params: Any) -> Submit:
        message = Submit(request_id=name, prompt_token_ids=prompt, params=SamplingParams(temperature=0.0, **params))
        self.core.submit("c", message)
        return message

    def step(self) -> None:
        report = self.core.step()
        for _, delta in report.deltas if report is not None else ():
            self.found.setdefault(delta.request_id, []).extend(delta.token_ids)

    def finish(self) -> None:
        while self.core.has_work:
            self.step()
        self.core.check_integrity()


@pytest.fixture(params=["LateDevice", "EarlyDevice"])
def make_device(request: pytest.FixtureRequest, cuda_on_cpu: ModuleType) -> Any:
    return getattr(cuda_on_cpu, request.param)


arrivals = st.tuples(
    st.integers(0, 12),  # at which step
    st.lists(st.integers(0, 10), min_size=1, max_size=20),
    st.integers(1, 12),  # tokens at most
    st.booleans(),  # whether it ignores the end of sequence
    st.none() | st.integers(1, 15),  # at which step its client leaves
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    coming=st.lists(arrivals, min_size=1, max_size=6),
    graphs=st.booleans(),
    limits=st.fixed_dictionaries(
        {
            "prefix_caching": st.booleans(),
            "num_blocks": st.sampled_from([40, 12, 9]),  # 9 are just enough for one
            "max_num_batched_tokens": st.sampled_from([64, 12, 4]),
        }
    ),
)
def test_every_token_is_the_right_one(
    make_device: Any, verifying_runner: ModuleType, coming: list[Any], graphs: bool, limits: dict[str, Any]
) -> None:
    num_blocks = limits["num_blocks"]
    house = House(verifying_runner, make_device(), graphs=graphs, **limits)
    messages, gone = {}, set()
    step = 0
    while step <= 15 or house.core.has_work:
        for name, (at, prompt, tokens, ignore_eos, leaves) in enumerate(coming):
            if at == step:
                messages[name] = house.submit(str(name), prompt, seed=name, max_tokens=tokens, ignore_eos=ignore_eos)
            if leaves == step and name in messages and house.core.abort("c", str(name), 1):
                gone.add(name)
        house.step()
        step += 1
    house.core.check_integrity()
    for name, message in messages.items():
        expected, _ = verifying_runner.undisturbed(message, 0, CONTEXT, num_blocks * SIZE)
        found = house.found.get(str(name), [])
        assert found == (expected[: len(found)] if name in gone else expected)


def test_the_host_waits_once_a_step_and_the_next_one_is_queued_by_then(
    cuda_on_cpu: ModuleType, verifying_runner: ModuleType
) -> None:
    device = cuda_on_cpu.LateDevice()
    house = House(verifying_runner, device, num_blocks=40)
    for name in "abc":
        house.submit(name, [1, 2, 3], max_tokens=20, ignore_eos=True)
    house.step()
    for _ in range(10):
        replays, queued = device.num_replays, house.runner.num_graph_launches
        house.step()
        assert house.runner.num_graph_launches == queued + 1  # the step after this one
        assert device.num_replays == replays + 1  # and the device has run only this one
        assert device._queue  # so that it has something to go on with while the host settles
    facts = house.runner.facts()
    assert facts["rows_thrown_away"] == facts["eager_decodes"] == 0
    house.finish()


def test_what_ends_is_thrown_away_and_what_joins_runs_beside_the_others(
    cuda_on_cpu: ModuleType, verifying_runner: ModuleType
) -> None:
    house = House(verifying_runner, cuda_on_cpu.LateDevice(), num_blocks=40)
    house.submit("a", [1, 2, 3], max_tokens=20, ignore_eos=True)
    house.submit("b", [4, 5], max_tokens=20, ignore_eos=True)
    for _ in range(3):
        house.step()
    house.core.abort("c", "b", 1)
    house.submit("late", [6, 7], max_tokens=3, ignore_eos=True)
    house.finish()
    assert house.runner.num_rows_thrown_away >= 1
    for name, prompt in (("a", [1, 2, 3]), ("late", [6, 7])):
        tokens = list(prompt)
        for found in house.found[name]:
            assert found == verifying_runner.next_token(tokens, 0, 0)
            tokens.append(found)


def test_a_failed_device_ends_the_step_with_its_name_and_want_of_memory_does_not(
    cuda_on_cpu: ModuleType, verifying_runner: ModuleType
) -> None:
    device = cuda_on_cpu.LateDevice()
    house = House(verifying_runner, device, num_blocks=40)
    prompts = {"a": [1, 2, 3], "b": [4, 5, 6, 7, 8]}
    for name, prompt in prompts.items():
        house.submit(name, prompt, max_tokens=6, ignore_eos=True)
    house.step()

    def fail(error: Exception) -> None:
        device.fault = device.refuse = lambda: None
        raise error

    device.refuse = lambda: fail(torch.OutOfMemoryError("CUDA out of memory"))
    house.step()
    assert house.core.snapshot().out_of_memory == 1
    house.finish()
    for name, prompt in prompts.items():
        assert house.found[name][0] == verifying_runner.next_token(prompt, 0, 0)
        assert len(house.found[name]) == 6
    house.submit("c", [1], max_tokens=6, ignore_eos=True)
    device.fault = lambda: fail(RuntimeError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(DeviceError, match=r"^illegal memory access: CUDA error"):
        house.step()
    house.runner.close()


def sequence(blocks: int, tokens: int = 5, *, max_tokens: int = 9, alone: bool = False) -> Sequence:
    request = Request(key=("c", "r", 1), prompt_token_ids=[1] * tokens, params=SamplingParams(), arrival=0, alone=alone)
    found = Sequence(request, 0, max_output_tokens=max_tokens)
    found.block_ids, found.slot = list(range(blocks)), 0
    return found


def test_only_what_will_surely_want_a_token_and_has_room_for_it_is_queued_ahead() -> None:
    whole = [(sequence(2), 0, 5)]
    assert [piece[1:] for piece in next_pieces([Row(s, start, n, samples=True) for s, start, n in whole], SIZE)] == [
        (5, 1, True, True)
    ]
    for row in (
        Row(sequence(1), 0, 4, samples=True),  # no block for the next token
        Row(sequence(2, max_tokens=1), 0, 5, samples=True),  # ends by length
        Row(sequence(2, alone=True), 0, 5, samples=True),
        Row(sequence(2), 0, 3, samples=False),  # a chunk of a prompt
    ):
        assert next_pieces([row], SIZE) == []


def test_a_plan_is_matched_by_sequence_position_and_slot() -> None:
    one, other = sequence(2), sequence(2)
    expected = (Expected(other, 7, 0), Expected(one, 5, 0))
    decode = Row(one, 5, 1, samples=True)
    assert match([decode], (), expected) == {0: 1}
    assert match([decode], (one,), expected) == {}
    assert match([Row(one, 6, 1, samples=True)], (), expected) == {}
    one.slot = 3
    assert match([decode], (), expected) == {}
