"""What an engine tells each client without being asked: its load after every step, and how much may be sent."""

from pathlib import Path
from types import ModuleType
from typing import Any

from spillway_wire.messages import STANDING_CREDITS, Backlog, Beat, Channel, Credit, Hello, StepOutput, Submit
from spillway_wire.page import Counter
from spillway_wire.sampling import SamplingParams


async def until(raw: Any, wanted: Any) -> Any:
    """The first message of `raw` for which `wanted` holds."""
    while True:
        for message in raw.received:
            if wanted(message):
                return message
        raw._changed.clear()
        await raw._changed.wait()


async def opened(serving: ModuleType, engine: Any, name: str) -> tuple[Any, Any]:
    return (
        await serving.Raw.open(engine, Hello(client_id=name, channel=Channel.OUTPUT)),
        await serving.Raw.open(engine, Hello(client_id=name, channel=Channel.REQUEST)),
    )


def submit(name: str, max_tokens: int, attempt: int = 1) -> Submit:
    return Submit(request_id=name, attempt=attempt, prompt_token_ids=[1], params=SamplingParams(max_tokens=max_tokens))


def test_every_client_hears_of_the_load_after_every_step(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine:
            busy, request = await opened(serving, engine, "busy")
            idle, other = await opened(serving, engine, "idle")
            request.wire.send(submit("x", 3))
            last = await until(idle, lambda message: isinstance(message, StepOutput) and message.sequence == 3)
            steps = [message for message in idle.received if isinstance(message, StepOutput)]
            assert [(step.step, step.deltas, step.received) for step in steps] == [(n, (), 0) for n in (1, 2, 3)]
            assert [step.load.running for step in steps] == [1, 1, 0]
            own = await until(busy, lambda message: isinstance(message, StepOutput) and message.sequence == 3)
            assert (own.received, own.load, len(own.deltas)) == (1, last.load, 1)
            for raw in (busy, request, idle, other):
                await raw.close()

    serving.run(test)


def test_load_and_credits_are_known_from_the_hello_on_and_repeated_by_beats(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path, tick_s=60.0) as engine:
            output, request = await opened(serving, engine, "a")
            assert (await output.first(Credit)).total == STANDING_CREDITS
            control = await serving.Raw.open(engine, Hello(client_id="a", channel=Channel.CONTROL))
            beat = await control.first(Beat)
            assert (beat.load.running, beat.received, beat.credit) == (0, 0, STANDING_CREDITS)
            for raw in (output, request, control):
                await raw.close()

    serving.run(test)


def test_a_backlog_is_granted_and_continuations_need_no_credit(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine:
            output, request = await opened(serving, engine, "a")
            request.wire.send(Backlog(waiting=STANDING_CREDITS + 20))
            await until(output, lambda m: isinstance(m, Credit) and m.total == STANDING_CREDITS + 20)
            request.wire.send(submit("resumed", 1, attempt=2))
            await output.first(StepOutput)
            request.wire.send(Backlog(waiting=STANDING_CREDITS + 21))
            await until(output, lambda m: isinstance(m, Credit) and m.total == STANDING_CREDITS + 21)
            request.wire.send(Backlog(waiting=0, returned=21))
            request.wire.send(submit("fresh", 1))
            await until(output, lambda m: isinstance(m, Credit) and m.total == STANDING_CREDITS + 22)
            for raw in (output, request):
                await raw.close()

    serving.run(test)


def test_a_backlog_without_an_output_channel_is_refused(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine:
            request = await serving.Raw.open(engine, Hello(client_id="a", channel=Channel.REQUEST))
            request.wire.send(Backlog(waiting=1))
            await request.end()
            assert engine.count(Counter.REQUESTS_RECEIVED) == 0

    serving.run(test)
