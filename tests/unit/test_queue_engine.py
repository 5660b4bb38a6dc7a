"""What engines say of their steps, from the plan to the meter that learns from it."""

from types import ModuleType
from typing import Any

import pytest

from spillway.admission.contract import Band
from spillway.pool.meter import EngineMeter
from spillway_engine.process.outbox import Client, Outbox
from spillway_wire.codec import FrameDecoder, FrameEncoder
from spillway_wire.messages import Capacity, Delta, FromEngine, Load, Moment, MomentKind, StepOutput
from spillway_wire.page import Counter
from spillway_wire.sampling import SamplingParams


def test_a_frame_says_what_its_step_was_spent_on(fake_core: ModuleType) -> None:
    desk = fake_core.Desk()
    decoder: FrameDecoder[Any] = FrameDecoder(FromEngine)
    frames: list[Any] = []

    def keep(_: int, __: str, frame: bytes) -> bytes:
        frames.extend(decoder.feed(frame))
        return frame

    outbox = Outbox(FrameEncoder(), [0] * len(Counter), keep)
    desk.submit("long", prompt=12, params=SamplingParams(max_tokens=3))
    for step in range(6):
        if step == 2:
            desk.submit("short", prompt=3, params=SamplingParams(max_tokens=2))
        report = desk.core.step()
        if report is not None:
            assert list(outbox.send_step(Client("gw"), report, desk.core.load(), ())) == []
    assert [(frame.prefill_tokens, frame.decode_rows) for frame in frames] == [(8, 0), (4, 0), (3, 1), (0, 2)]
    assert frames[2].prefill_tokens + frames[2].decode_rows == 4


def test_a_preemption_lowers_the_limit() -> None:
    meter = EngineMeter(
        Capacity(max_num_seqs=64, max_num_batched_tokens=1, max_model_len=1, num_blocks=1, block_size=1)
    )
    meter.expect(0.1)
    load = Load(running=12, waiting=0, free_blocks=0, waiting_prefill_tokens=0)
    limits = []
    for number in range(1, 60):
        moments = (Moment(kind=MomentKind.PREEMPTED, at_ns=1),) if number == 30 else ()
        output = StepOutput(
            sequence=number,
            step=number,
            started_ns=number * 10**7,
            ended_ns=number * 10**7 + 9 * 10**6,
            load=load,
            deltas=(Delta(request_id="x", attempt=1, choice=0, position=number, token_ids=(1,), moments=moments),),
            decode_rows=12,
        )
        meter.hear(output, objective_s=0.1, demand=False)
        limits.append(meter.limit)
    assert set(limits[:28]) == {16.0}, "a quarter of what fits, and nobody wants more"
    assert limits[-1] == pytest.approx(0.9 * 12)


def test_an_engine_says_what_its_steps_were_spent_on(pool_house: Any) -> None:
    async def scenario() -> None:
        async with pool_house.on_one_engine() as (_, caller):
            assert await caller.read("x", [1, 2], 40) == {0: pool_house.expected([1, 2], 40)}
            load = caller.pool.load("fake")
            assert load is not None
            (seen,) = load.engines
            assert seen.pace.step_s(1) == pytest.approx(5e-9), "which is what a step of this engine takes"
            assert (seen.limit, load.own_running, load.num_waiting) == (256.0, 0, 0)
            assert caller.pool.queue_age("fake", Band.DEFAULT).oldest_s == 0.0

    pool_house.run(scenario)
