"""What the engine process does under injected faults, and when its books do not add up."""

from pathlib import Path
from types import ModuleType

import pytest

from spillway_engine.client.engine_client import EngineClient
from spillway_engine.core import EngineCore
from spillway_engine.errors import EngineDeadError, RequestFailedError
from spillway_engine.memory.blocks import IntegrityError
from spillway_engine.process.credits import Credits
from spillway_engine.settings import SchedulerSettings
from spillway_wire.messages import (
    Channel,
    Hello,
    LastWords,
)
from spillway_wire.page import Counter
from spillway_wire.sampling import SamplingParams

FOREVER = SamplingParams()


def test_a_dropped_frame_ends_the_attempt(fake_engine: ModuleType, serving: ModuleType, tmp_path: Path) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path, chaos=True) as engine:
            client = await EngineClient.connect(engine.address)
            assert (await client.inject("drop_output", at_step=3)).armed
            generation = client.submit([1], FOREVER)
            with pytest.raises(EngineDeadError, match="output frames 3 to 3 were lost"):
                await generation.result()
            assert generation.outputs[0].token_ids == fake_engine.expected([1], 2)
            await client.close()
            async with await EngineClient.connect(engine.address) as other:
                resumed = other.submit_message(generation.request, None)
                await anext(resumed)

    serving.run(test)


@pytest.mark.parametrize("fault", ["drop_output", "corrupt_output"])
def test_beats_tell_of_a_lost_last_frame(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path, fault: str
) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path, chaos=True) as engine:
            client = await EngineClient.connect(engine.address)
            assert (await client.inject(fault, at_step=3)).armed
            generation = client.submit([1], SamplingParams(max_tokens=3))
            with pytest.raises(EngineDeadError, match="output frames 3 to 3 were lost"):
                await generation.result()
            resumed_on = await EngineClient.connect(engine.address)
            (answer,) = await resumed_on.resume(generation).result()
            assert answer.token_ids == fake_engine.expected([1], 3)
            await client.close()
            await resumed_on.close()

    serving.run(test)


def test_a_step_that_raises_leaves_last_words(fake_engine: ModuleType, serving: ModuleType, tmp_path: Path) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path, chaos=True) as engine:
            control = await serving.Raw.open(engine, Hello(client_id="supervisor", channel=Channel.CONTROL))
            client = await EngineClient.connect(engine.address)
            await client.inject("exception", at_step=4)
            generation = client.submit([1], FOREVER)
            with pytest.raises(EngineDeadError, match="injected into step 4"):
                await generation.result()
            words: LastWords = await control.first(LastWords)
            assert words.cause == "exception"
            assert "before_execute" in words.traceback
            assert await engine.task == 70
            await client.close()

    serving.run(test)


def test_a_leak_is_found_after_an_abort_and_ends_the_process(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    core = EngineCore(SchedulerSettings(), fake_engine.FakeRunner(), vocab_size=1000, eos_token_ids=())
    pool = core._scheduler.blocks.pool
    pool.allocate(1)  # nobody's
    core.hold_back(pool.num_free)  # so that the request gets no step

    async def test() -> None:
        async with serving.served(fake_engine, tmp_path, core=core) as engine:
            control = await serving.Raw.open(engine, Hello(client_id="supervisor", channel=Channel.CONTROL))
            client = await EngineClient.connect(engine.address)
            client.submit([1], FOREVER).abort()
            words: LastWords = await control.first(LastWords)
            assert "IntegrityError" in words.message
            assert await engine.task == 70
            assert engine.count(Counter.REQUESTS_ABORTED) == 1
            assert engine.count(Counter.STEPS) == 0
            await client.close()

    serving.run(test)


def test_credits_that_do_not_add_up_end_the_process(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Credits) -> None:
        raise IntegrityError("the credits of a do not add up")

    monkeypatch.setattr(Credits, "check_integrity", fails)

    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine:
            failure = await engine.log.wait_for("step_failed")
            assert "the credits of a do not add up" in str(failure["error"])
            assert await engine.task == 70

    serving.run(test)


def test_nan_logits_end_one_request_and_the_others_go_on(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with (
            serving.served(fake_engine, tmp_path, chaos=True) as engine,
            await EngineClient.connect(engine.address) as client,
        ):
            await client.inject("nan_logits", at_step=2)
            first = client.submit([1], SamplingParams(max_tokens=9))
            second = client.submit([2], SamplingParams(max_tokens=9))
            with pytest.raises(RequestFailedError, match="NaN"):
                await first.result()
            (answer,) = await second.result()
            assert answer.token_ids == fake_engine.expected([2], 9)
            assert engine.count(Counter.CHOICES_FAILED) == 1

    serving.run(test)


def test_blocks_held_back_are_given_back_even_if_nothing_can_run(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with (
            serving.served(fake_engine, tmp_path, chaos=True) as engine,
            await EngineClient.connect(engine.address) as client,
        ):
            assert (await client.inject("kv_exhaustion", value=1.0, num_steps=2)).armed
            (answer,) = await client.generate([1], SamplingParams(max_tokens=3))
            assert answer.token_ids == fake_engine.expected([1], 3)
            assert engine.core.held == 0
            assert engine.count(Counter.FAULTS_STRUCK) == 2

    serving.run(test)


def test_faults_are_refused_without_chaos_and_unknown_ones_always(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with (
            serving.served(fake_engine, tmp_path) as engine,
            await EngineClient.connect(engine.address) as client,
        ):
            refused = await client.inject("crash")
            assert (refused.armed, refused.message) == (False, "this engine was not started with --chaos")

    serving.run(test)
