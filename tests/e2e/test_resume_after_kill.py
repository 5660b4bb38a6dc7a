"""Promise 1 on the real engine: killed at any step, every request goes on elsewhere, no token lost, doubled or changed.

Sixteen requests, greedy and sampled, with penalties, bias and several choices, run undisturbed, then again with the
engine crashing inside a random step, then killed from outside at a random moment, and end on a third engine.
"""

import asyncio
import random
import signal
from pathlib import Path

import pytest
import uvloop
from tokenizers import Tokenizer

import spillway_engine
from spillway_engine.client.engine_client import EngineClient
from spillway_engine.client.generation import ChoiceOutput, Generation
from spillway_engine.errors import EngineDeadError
from spillway_engine.settings import EngineSettings
from spillway_wire.outcomes import Outcome
from spillway_wire.sampling import SamplingParams

SETTINGS = EngineSettings(model="demo", threads=1, kv_cache_bytes=64 * 2**20, max_model_len=512)
DEMO_MODEL = Path(spillway_engine.__file__).parent / "demo" / "model"

VARIETY = (
    SamplingParams(temperature=0.0, max_tokens=80, ignore_eos=True),
    SamplingParams(temperature=0.0, max_tokens=80, ignore_eos=True, repetition_penalty=1.3, frequency_penalty=0.5),
    SamplingParams(temperature=1.0, seed=11, max_tokens=80, ignore_eos=True),
    SamplingParams(temperature=1.3, seed=12, max_tokens=80, ignore_eos=True, top_k=40, top_p=0.9, min_p=0.01),
    SamplingParams(temperature=0.8, seed=13, max_tokens=80, ignore_eos=True, presence_penalty=1.0),
    SamplingParams(temperature=1.0, seed=14, max_tokens=80, min_tokens=70, logit_bias={300: 4.0, 301: -100.0}),
    SamplingParams(temperature=0.7, seed=15, max_tokens=80, min_tokens=60, repetition_penalty=1.1, logprobs=2),
    SamplingParams(temperature=0.0, max_tokens=80),
)


def prompts() -> list[list[int]]:
    tokenizer = Tokenizer.from_file(str(DEMO_MODEL / "tokenizer.json"))
    texts = [f"<|begin|><|user|>Count from {7 * i + 3} to {7 * i + 70}<|end|><|assistant|>" for i in range(16)]
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def submit_all(engine: EngineClient) -> list[Generation]:
    return [
        engine.submit(prompt, VARIETY[index % 8], choices=1 + (index % 5 == 2), request_id=f"request-{index}")
        for index, prompt in enumerate(prompts())
    ]


def tokens(outputs: list[ChoiceOutput]) -> list[list[int]]:
    return [output.token_ids for output in outputs]


async def settled(generations: list[Generation]) -> int:
    """Wait until all are over; return how many the engine's death interrupted."""
    ends = await asyncio.gather(*(generation.result() for generation in generations), return_exceptions=True)
    interrupted = [end for end in ends if isinstance(end, BaseException)]
    assert all(isinstance(end, EngineDeadError) for end in interrupted), interrupted
    return len(interrupted)


def resume_interrupted(engine: EngineClient, generations: list[Generation]) -> list[Generation]:
    return [
        generation if all(output.finish for output in generation.outputs.values()) else engine.resume(generation)
        for generation in generations
    ]


@pytest.mark.parametrize("seed", [1, 2, 3], ids="seed-{}".format)
def test_every_stream_is_identical_to_the_undisturbed_run(seed: int) -> None:
    randomness = random.Random(seed)

    async def test() -> None:
        first = await EngineClient.spawn(SETTINGS, flags=("--chaos",))  # alone: it may have to compile the kernels
        second, third = await asyncio.gather(EngineClient.spawn(SETTINGS), EngineClient.spawn(SETTINGS))
        async with first, second, third:
            undisturbed = [tokens(await generation.result()) for generation in submit_all(first)]

            step = (await first.snapshot())["step"]
            assert (await first.inject("crash", at_step=step + randomness.randint(2, 60))).armed
            generations = submit_all(first)
            assert await settled(generations) > 8, "the crash came too late"
            assert first.process is not None
            assert await first.process.wait() == -signal.SIGKILL

            generations = resume_interrupted(second, generations)
            for _ in range(randomness.randint(1, 10)):
                await anext(generations[0])
            assert second.process is not None
            second.process.send_signal(signal.SIGKILL)
            assert await settled(generations) > 0, "the kill came too late"

            generations = resume_interrupted(third, generations)
            results = [await generation.result() for generation in generations]
            assert [tokens(result) for result in results] == undisturbed
            for result in results:
                for output in result:
                    assert output.finish is not None
                    assert output.finish.outcome is Outcome.COMPLETED
                    assert output.finish.usage.output_tokens == len(output.token_ids)
            assert max(generation.request.attempt for generation in generations) == 3
            core = (await third.snapshot())["core"]
            assert core["live"] == 0
            assert core["blocks"]["used"] == 0

    async def bounded() -> None:
        async with asyncio.timeout(540):  # the first start on a machine compiles kernels
            await test()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())
