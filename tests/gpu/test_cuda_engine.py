"""The engine on a GPU: the demo model counts, and nothing around a request changes its answer."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from spillway_engine.core import EngineCore
from spillway_engine.cuda.buffers import block_bytes
from spillway_engine.model.config import choose_dtype, read_shape
from spillway_engine.process.exits import cause_of
from spillway_engine.settings import EngineSettings
from spillway_engine.startup import LoadedEngine, load_engine
from spillway_text.text import ModelText
from spillway_wire.messages import Choice, Exactness, Submit
from spillway_wire.sampling import SamplingParams

pytestmark = pytest.mark.gpu

GREEDY = SamplingParams(temperature=0.0, max_tokens=60, logprobs=2)
SAMPLED = SamplingParams(
    temperature=1.1, top_p=0.9, top_k=30, seed=11, max_tokens=60, logprobs=1, frequency_penalty=0.2
)


def load(**changes: Any) -> LoadedEngine:
    settings: dict[str, Any] = {"model": "demo", "device": "cuda", "max_num_seqs": 64, "gpu_memory_utilization": 0.2}
    return load_engine(EngineSettings(**(settings | changes)))


@pytest.fixture(scope="module")
def engine() -> Iterator[LoadedEngine]:
    loaded = load()
    yield loaded
    loaded.runner.close()


def run(core: EngineCore, messages: list[Submit], *, staggered: int = 0) -> dict[str, tuple[list[int], list[Any]]]:
    """Serve requests, `staggered` steps apart, and return tokens and logprobs by request."""
    found: dict[str, tuple[list[int], list[Any]]] = {message.request_id: ([], []) for message in messages}
    waiting = list(messages)
    steps = 0
    while waiting or core.has_work:
        if waiting and steps % (staggered or 1) == 0:
            for message in [waiting.pop(0)] if staggered else [waiting.pop(0) for _ in range(len(waiting))]:
                core.submit("test", message)
        report = core.step()
        steps += 1
        for _, delta in report.deltas if report is not None else ():
            found[delta.request_id][0].extend(delta.token_ids)
            found[delta.request_id][1].extend(delta.logprobs)
    core.check_integrity()
    return found


def prompts(count: int) -> list[list[int]]:
    return [[(7 * n * n + 3 * n + index) % 900 + 5 for n in range(5 + 37 * index % 300)] for index in range(count)]


def messages(params: SamplingParams, count: int = 40) -> list[Submit]:
    return [
        Submit(request_id=str(i), prompt_token_ids=prompt, params=params) for i, prompt in enumerate(prompts(count))
    ]


def test_the_class_is_exact_and_told(engine: LoadedEngine) -> None:
    assert engine.exactness is Exactness.EXACT
    assert engine.core.settings.runs_ahead


def test_it_counts(engine: LoadedEngine) -> None:
    text = ModelText(engine.path)
    prompt = text.encode_chat([{"role": "user", "content": "Count from 37 to 90"}])
    params = SamplingParams(temperature=0.0, max_tokens=100)
    tokens, _ = run(engine.core, [Submit(request_id="r", prompt_token_ids=prompt, params=params)])["r"]
    assert text.decode(tokens[:-1]) == " ".join(map(str, range(37, 91)))


@pytest.mark.parametrize("params", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_alone_together_staggered_chunked_preempted_and_without_graphs_are_the_same(
    engine: LoadedEngine, params: SamplingParams
) -> None:
    alone = {m.request_id: run(engine.core, [m])[m.request_id] for m in messages(params)}
    assert run(engine.core, messages(params)) == alone
    assert run(engine.core, messages(params), staggered=2) == alone
    shape = read_shape(engine.path)
    one_block = block_bytes(shape, choose_dtype("auto", shape.dtype), 16)
    for changes in (
        {"max_num_batched_tokens": 64},
        {"cuda_graphs": False},
        {"kv_cache_bytes": one_block * 60, "prefix_caching": False},  # two or three at once: preemptions,
    ):
        other = load(**changes)
        try:
            assert run(other.core, messages(params), staggered=1) == alone, changes
        finally:
            other.runner.close()


def test_a_continuation_after_a_crash_goes_on_to_the_bit(engine: LoadedEngine) -> None:
    (whole,) = run(engine.core, messages(SAMPLED, 1)).values()
    again = Submit(
        request_id="again", attempt=2, prompt_token_ids=prompts(1)[0], params=SAMPLED,
        choices=(Choice(output_token_ids=tuple(whole[0][:20])),),
    )  # fmt: skip
    tokens, logprobs = run(engine.core, [again, *messages(GREEDY, 10)])["again"]
    assert (tokens, logprobs) == (whole[0][20:], whole[1][20:])


def test_greedy_tokens_are_the_cpus(engine: LoadedEngine) -> None:
    cpu = load_engine(EngineSettings(model="demo", device="cpu", max_num_seqs=64))
    text = ModelText(engine.path)
    asked = [
        Submit(
            request_id=str(first), params=SamplingParams(temperature=0.0, max_tokens=50),
            prompt_token_ids=text.encode_chat([{"role": "user", "content": f"Count from {first} to {first + 30}"}]),
        )
        for first in range(3, 60, 7)
    ]  # fmt: skip
    try:
        assert run(engine.core, asked) == run(cpu.core, asked)
    finally:
        cpu.runner.close()


def test_decodes_run_on_graphs_and_nothing_is_left_to_wait_for(engine: LoadedEngine) -> None:
    before = engine.runner.facts()  # type: ignore[attr-defined]
    run(engine.core, messages(GREEDY, 8))
    after = engine.runner.facts()  # type: ignore[attr-defined]
    assert after["eager_decodes"] == before["eager_decodes"]
    assert after["graph_launches"] - before["graph_launches"] >= 59
    assert after["rows_ahead"] - before["rows_ahead"] >= 8 * 55
    assert after["gpu"]["uuid"].startswith("GPU-")


def test_memory_stays_what_it_was_under_load(engine: LoadedEngine) -> None:
    run(engine.core, messages(SAMPLED))
    free, _ = torch.cuda.mem_get_info()
    for _ in range(3):
        run(engine.core, messages(SAMPLED))
    assert torch.cuda.mem_get_info()[0] == free


def test_a_float8_cache_answers_and_the_librarys_products_do(engine: LoadedEngine) -> None:
    del engine
    for changes in ({"kv_cache_dtype": "float8"}, {"batch_invariant": False}):
        other = load(**changes)
        try:
            assert len(run(other.core, messages(GREEDY, 4))["0"][0]) > 0
        finally:
            other.runner.close()


def test_out_of_memory_is_known_for_what_it_is() -> None:
    with pytest.raises(torch.OutOfMemoryError) as raised:
        torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
    assert cause_of(raised.value) == "out_of_memory"
