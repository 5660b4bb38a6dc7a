"""The engine process and its clients, over real sockets: those that behave and those that do not."""

import asyncio
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import uvloop

from spillway_engine.client.engine_client import EngineClient
from spillway_engine.errors import EngineDeadError, InvalidRequestError
from spillway_wire.messages import (
    Abort,
    Channel,
    Goodbye,
    Hello,
    StepOutput,
    Submit,
)
from spillway_wire.outcomes import Outcome
from spillway_wire.page import Counter
from spillway_wire.sampling import SamplingParams

FOREVER = SamplingParams()


@pytest.mark.parametrize("loop_factory", [None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_serves_results_and_streams_over_every_transport(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path, transport: str, loop_factory: Any
) -> None:
    async def test() -> None:
        address = "tcp:127.0.0.1:0" if transport == "tcp" else None
        async with (
            serving.served(fake_engine, tmp_path, address=address) as engine,
            await EngineClient.connect(engine.address) as client,
        ):
            assert client.welcome.incarnation == 3
            answers = await client.generate([1, 2], SamplingParams(max_tokens=5), choices=2)
            assert [answer.token_ids for answer in answers] == [
                fake_engine.expected([1, 2], 5, choice) for choice in (0, 1)
            ]
            positions = [
                (delta.position, delta.token_ids) async for delta in client.stream([7], SamplingParams(max_tokens=4))
            ]
            assert positions == [(i, (fake_engine.token_at([7], i),)) for i in range(4)]

    serving.run(test, loop_factory)


def test_tokens_of_one_step_come_in_one_frame_for_each_client(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine:
            output = await serving.Raw.open(engine, Hello(client_id="a", channel=Channel.OUTPUT))
            request = await serving.Raw.open(engine, Hello(client_id="a", channel=Channel.REQUEST))
            for name in ("x", "y", "z"):
                request.wire.send(Submit(request_id=name, prompt_token_ids=[1], params=SamplingParams(max_tokens=1)))
            frame: StepOutput = await output.first(StepOutput)
            assert [delta.request_id for delta in frame.deltas] == ["x", "y", "z"]
            assert frame.sequence == 1
            await output.close()
            await request.close()

    serving.run(test)


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (Hello(client_id="a", channel=Channel.OUTPUT, protocol_version=99), "protocol version 99"),
        (Hello(client_id="", channel=Channel.OUTPUT), "client_id has 0 characters"),
        (Abort(request_id="x"), "Abort before Hello"),
    ],
)
def test_a_wrong_hello_is_answered_with_the_reason(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path, hello: Any, reason: str
) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine:
            raw = await serving.Raw.open(engine)
            raw.wire.send(hello)
            goodbye: Goodbye = await raw.first(Goodbye)
            assert reason in goodbye.reason
            await raw.end()

    serving.run(test)


def test_silence_instead_of_hello_ends_the_connection(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path, hello_timeout_s=0.01) as engine:
            raw = await serving.Raw.open(engine)
            assert "no hello within 0.01 s" in (await raw.first(Goodbye)).reason
            await raw.end()

    serving.run(test)


def test_a_second_client_of_the_same_name_is_refused_and_the_first_goes_on(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with (
            serving.served(fake_engine, tmp_path) as engine,
            await EngineClient.connect(engine.address, client_id="twin") as first,
        ):
            with pytest.raises(EngineDeadError, match="has its output channel open already"):
                await EngineClient.connect(engine.address, client_id="twin")
            (answer,) = await first.generate([5], SamplingParams(max_tokens=2))
            assert answer.token_ids == [5, 6]

    serving.run(test)


def test_a_request_before_the_output_channel_is_refused_with_the_reason(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine:
            request = await serving.Raw.open(engine, Hello(client_id="a", channel=Channel.REQUEST))
            request.wire.send(Submit(request_id="x", prompt_token_ids=[1]))
            assert "before the output channel is open" in (await request.first(Goodbye)).reason
            await request.end()
            assert not engine.core.has_work

    serving.run(test)


def test_refused_connections_are_logged_once_a_second(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path, clock_ns=lambda: 1) as engine:
            for _ in range(5):
                refused = await serving.Raw.open(engine, Hello(client_id="", channel=Channel.OUTPUT))
                await refused.end()
            assert sum(event == "refused_connection" for event, _ in engine.log.seen) == 1

    serving.run(test)


def test_a_request_that_cannot_succeed_is_rejected_at_once(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with (
            serving.served(fake_engine, tmp_path) as engine,
            await EngineClient.connect(engine.address) as client,
        ):
            with pytest.raises(InvalidRequestError, match="prompt_token_ids is empty"):
                await client.generate([])
            assert engine.count(Counter.REQUESTS_REJECTED) == 1

    serving.run(test)


def test_a_client_that_does_not_read_is_cut_off_and_nobody_else_notices(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        bounds: dict[str, Any] = {"max_unsent_bytes": 100_000, "tokens_per_step": 2_000}
        async with (
            serving.served(fake_engine, tmp_path, **bounds) as engine,
            await EngineClient.connect(engine.address) as good,
        ):
            output = await serving.Raw.open(engine, Hello(client_id="slow", channel=Channel.OUTPUT))
            request = await serving.Raw.open(engine, Hello(client_id="slow", channel=Channel.REQUEST))
            output.pause()
            request.wire.send(Submit(request_id="x", prompt_token_ids=[1], params=FOREVER))
            going_on = good.submit([2], SamplingParams(max_tokens=400_000))
            assert "slow_reader" in (await request.first(Goodbye)).reason
            await engine.log.wait_for("client_gone")
            assert engine.count(Counter.CLIENTS_TOO_SLOW) == 1
            assert engine.count(Counter.REQUESTS_ABORTED) == 1
            assert engine.core.ended_as == [Outcome.SLOW_READER]
            assert {sequence.request.key[0] for sequence in engine.core.sequences} <= {good._links.client_id}
            (answer,) = await going_on.result()
            assert answer.token_ids == fake_engine.expected([2], 400_000)
            await output.close()
            await request.close()

    serving.run(test)


def test_requests_are_aborted_when_their_client_disconnects(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine:
            client = await EngineClient.connect(engine.address)
            generation = client.submit([1], FOREVER)
            await anext(generation)
            assert len(engine.core.sequences) == 1
            await client.close()
            with pytest.raises(EngineDeadError, match="closed by this client"):
                await generation.result()
            assert await engine.log.wait_for("client_gone") == {
                "client": client._links.client_id,
                "outcome": Outcome.CLIENT_GONE,
                "aborted": 1,
            }
            assert not engine.core.has_work

    serving.run(test)


@pytest.mark.parametrize("way", ["generate", "result", "stream", "break"])
def test_cancelling_who_waits_aborts_in_the_engine(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path, way: str
) -> None:
    async def test() -> None:
        async with (
            serving.served(fake_engine, tmp_path) as engine,
            await EngineClient.connect(engine.address) as client,
        ):
            begun = asyncio.Event()

            async def read() -> None:
                async for _ in client.stream([1], FOREVER):
                    begun.set()
                    if way == "break":
                        break

            async def wait() -> None:
                await (client.generate([1], FOREVER) if way == "generate" else client.submit([1], FOREVER).result())

            waits = way in ("generate", "result")
            task = asyncio.create_task(wait() if waits else read())
            if waits:
                while engine.count(Counter.REQUESTS_RECEIVED) == 0:
                    await client.snapshot()
            else:
                await begun.wait()
            if way == "break":
                await task
            else:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            while engine.count(Counter.REQUESTS_ABORTED) == 0:
                await client.snapshot()
            assert not engine.core.has_work

    serving.run(test)
