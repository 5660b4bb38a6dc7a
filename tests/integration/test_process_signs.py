"""What the engine process says of itself, and how it ends when it is asked to."""

import asyncio
import socket
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spillway_engine.client.engine_client import EngineClient
from spillway_engine.errors import RequestFailedError
from spillway_engine.reports import Totals
from spillway_wire.messages import (
    Beat,
    Channel,
    Hello,
    LastWords,
    Ready,
    StepOutput,
    Submit,
)
from spillway_wire.outcomes import Outcome
from spillway_wire.page import Counter, EngineState, PageReader, PageWriter, create_page
from spillway_wire.sampling import SamplingParams

FOREVER = SamplingParams()


def test_malformed_frames_are_counted_and_dropped(fake_engine: ModuleType, serving: ModuleType, tmp_path: Path) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine:
            output = await serving.Raw.open(engine, Hello(client_id="a", channel=Channel.OUTPUT))
            request = await serving.Raw.open(engine, Hello(client_id="a", channel=Channel.REQUEST))
            request.wire.send_frame(b"\x00\x00\x00\x03abc")
            request.wire.send_frame(b"\x00\x00\x00\x00")
            request.wire.send(Hello(client_id="a", channel=Channel.REQUEST))  # a message, but not here and now
            request.wire.send(Submit(request_id="x", prompt_token_ids=[1], params=SamplingParams(max_tokens=1)))
            frame: StepOutput = await output.first(StepOutput)
            assert frame.deltas[0].token_ids == (1,)
            assert engine.count(Counter.MALFORMED_FRAMES) == 3
            logged = [fields for event, fields in engine.log.seen if event == "malformed_frame"]
            assert len(logged) == 1, "the first of each second is logged"

            request.wire.send_frame(b"\xff\xff\xff\xff")  # nobody knows where the next frame begins
            await request.end()
            assert engine.count(Counter.MALFORMED_FRAMES) == 4
            await output.close()

    serving.run(test)


def test_drain_finishes_what_is_known_and_takes_nothing_new(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine:
            control = await serving.Raw.open(engine, Hello(client_id="supervisor", channel=Channel.CONTROL))
            client = await EngineClient.connect(engine.address)
            known = client.submit([1], SamplingParams(max_tokens=2_000))
            await anext(known)
            drained = asyncio.create_task(client.drain())
            while engine.page.state is not EngineState.DRAINING:
                await anext(known)
            late = client.submit([2], SamplingParams(max_tokens=1))
            with pytest.raises(RequestFailedError) as refused:
                await late.result()
            assert refused.value.outcome is Outcome.DRAINING
            (answer,) = await known.result()
            assert answer.token_ids == fake_engine.expected([1], 2_000)
            assert "drained" in await drained
            assert await engine.task == 0
            assert (await control.first(LastWords)).cause == "drained"
            assert not (tmp_path / "engine.sock").exists()
            await client.close()

    serving.run(test)


def test_stop_ends_what_runs_with_an_error(fake_engine: ModuleType, serving: ModuleType, tmp_path: Path) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine:
            client = await EngineClient.connect(engine.address)
            running = client.submit([1], FOREVER)
            await anext(running)
            assert "stopped" in await client.stop()
            with pytest.raises(RequestFailedError, match="the engine was stopped"):
                await running.result()
            assert running.outputs[0].token_ids == fake_engine.expected([1], len(running.outputs[0].token_ids))
            assert await engine.task == 0
            await client.close()

    serving.run(test)


def test_beats_repeat_the_last_sequence_number(fake_engine: ModuleType, serving: ModuleType, tmp_path: Path) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine:
            control = await serving.Raw.open(engine, Hello(client_id="a", channel=Channel.CONTROL))
            assert (await control.first(Ready)).incarnation == 3
            output = await serving.Raw.open(engine, Hello(client_id="a", channel=Channel.OUTPUT))
            request = await serving.Raw.open(engine, Hello(client_id="a", channel=Channel.REQUEST))
            assert (await control.first(Beat)).output_sequence == 0
            request.wire.send(Submit(request_id="x", prompt_token_ids=[1], params=SamplingParams(max_tokens=3)))
            while not (isinstance(output.received[-1], StepOutput) and output.received[-1].sequence == 3):
                output._changed.clear()
                await output._changed.wait()
            control.received.clear()
            assert (await control.first(Beat)).output_sequence == 3
            for raw in (control, output, request):
                await raw.close()

    serving.run(test)


def test_what_the_core_counted_is_on_the_page(fake_engine: ModuleType, serving: ModuleType, tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            serving.served(fake_engine, tmp_path) as engine,
            await EngineClient.connect(engine.address) as client,
        ):
            engine.core.counted = Totals(
                preemptions=1, prefix_queries=2, prefix_hits=3, failed_logits=4, out_of_memory=5
            )
            await client.generate([1], SamplingParams(max_tokens=1))
            assert [engine.count(Counter[name.upper()]) for name in Totals._fields] == [1, 2, 3, 4, 5]

    serving.run(test)


def test_the_snapshot_says_who_is_connected_and_what_runs(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with (
            serving.served(fake_engine, tmp_path) as engine,
            await EngineClient.connect(engine.address, client_id="me") as client,
        ):
            generation = client.submit([1], FOREVER, request_id="endless")
            await anext(generation)
            snapshot = await client.snapshot()
            assert snapshot["core"]["open_requests"] == ["endless"]
            assert snapshot["clients"]["me"]["channels"] == ["control", "output", "request"]
            assert snapshot["state"] == "ready"
            assert snapshot["counters"]["requests_received"] == 1

    serving.run(test)


def test_the_page_tells_the_step_and_who_is_aboard(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        create_page(tmp_path / "page")
        writer, reader = PageWriter(tmp_path / "page"), PageReader(tmp_path / "page")
        seen: list[Any] = []
        async with (
            serving.served(fake_engine, tmp_path, page=writer) as engine,
            await EngineClient.connect(engine.address, client_id="me") as client,
        ):
            inner = engine.core.runner._inner

            class Looking:
                def execute(self, plan: Any) -> Any:
                    seen.append(reader.read())
                    return inner.execute(plan)

            engine.core.runner._inner = Looking()
            await client.generate([1], SamplingParams(max_tokens=2), request_id="x")
            idle = reader.read()
        during = seen[1]
        assert during.step == 2
        assert during.started_ns == during.ticked_ns
        assert during.aboard == (("me", "x", 1, 0),)
        assert during.state is EngineState.READY
        assert idle is not None
        assert idle.started_ns is None
        assert idle.counters[Counter.STEPS] == 2
        assert idle.counters[Counter.OUTPUT_TOKENS] == 2
        after = reader.read()
        assert after is not None
        assert after.state is EngineState.STOPPED
        reader.close()
        writer.close()

    serving.run(test)


def test_an_address_in_use_is_refused_and_a_dead_ones_file_is_taken_over(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "engine.sock"))

    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine:
            with pytest.raises(FileExistsError, match="another process listens"):
                async with serving.served(fake_engine, tmp_path):
                    pass
            async with await EngineClient.connect(engine.address) as client:
                await client.generate([1], SamplingParams(max_tokens=1))

    serving.run(test)
