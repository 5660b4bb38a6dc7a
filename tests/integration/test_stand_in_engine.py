"""The stand-in engine: all of a real one but the model, so that its answers are known beforehand."""

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from spillway_engine.bench.stand_in import token_at
from spillway_engine.client.engine_client import EngineClient
from spillway_engine.settings import EngineSettings
from spillway_wire.sampling import SamplingParams

COMMAND = (sys.executable, str(Path(__file__).parents[1] / "fakes" / "engine_stand_in.py"))
SETTINGS = EngineSettings(model="demo")
DEMO_VOCABULARY = 3072


def known(prompt: list[int], num_tokens: int, choice: int = 0) -> list[int]:
    return [token_at(prompt, choice, position, vocab_size=DEMO_VOCABULARY) for position in range(num_tokens)]


def test_answers_are_a_function_of_prompt_choice_and_position_also_after_a_kill() -> None:
    prompts = [[3, 4, 5 + index] for index in range(8)]
    params = SamplingParams(max_tokens=200, temperature=1.0, logprobs=2)

    async def test() -> None:
        first, second = await asyncio.gather(
            EngineClient.spawn(SETTINGS, command=COMMAND), EngineClient.spawn(SETTINGS, command=COMMAND)
        )
        async with first, second:
            generations = [first.submit(prompt, params, choices=2) for prompt in prompts]
            await anext(generations[-1])
            assert first.process is not None
            first.process.send_signal(signal.SIGKILL)
            await asyncio.gather(*(generation.result() for generation in generations), return_exceptions=True)
            assert first.last_words is not None
            resumed = [second.resume(generation) for generation in generations]
            for prompt, generation in zip(prompts, resumed, strict=True):
                for output in await generation.result():
                    assert output.token_ids == known(prompt, 200, output.index)
                    assert [each.chosen.token_id for each in output.logprobs] == output.token_ids
            core = (await second.snapshot())["core"]
            assert (core["live"], core["blocks"]["used"]) == (0, 0)
            assert second.process is not None
            await second.drain()
            assert await second.process.wait() == 0

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


def test_the_demo_models_stand_in_counts() -> None:
    assert {token_at([1, 2, 3], 0, position, vocab_size=DEMO_VOCABULARY) for position in range(1024)} == set(
        range(2048, 3072)
    )
