"""A gateway's word on what kills engines: how it travels, and what a pool does that finds out, or hears of it."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from spillway.pool.contract import Work
from spillway.pool.core import PoolCore
from spillway.pool.lifecycle import State
from spillway.pool.suspects import fingerprint
from spillway.settings import LimitSettings
from spillway_wire.codec import FrameDecoder, FrameEncoder, Malformed
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import FromSupervisor, Membership, Phase, PhaseKind, Quarantined, ToSupervisor
from spillway_wire.sampling import SamplingParams

WORD = Quarantined(fingerprint=b"\x00\xff" * 16, until_ns=2**62, crashes=4)
OLD = Membership | Phase
"""What a child understands that does not know the message yet."""


@pytest.mark.parametrize("direction", [ToSupervisor, FromSupervisor])
def test_it_travels_both_ways_as_it_is(direction: object) -> None:
    (heard,) = FrameDecoder[Any](direction).feed(FrameEncoder().encode(WORD))
    assert heard == WORD


def test_who_does_not_know_it_skips_it_and_reads_on() -> None:
    encoder = FrameEncoder()
    phase = Phase(kind=PhaseKind.SERVING)
    skipped, heard = FrameDecoder[Any](OLD).feed(encoder.encode(WORD) + encoder.encode(phase))
    assert isinstance(skipped, Malformed)
    assert not skipped.framing_lost
    assert heard == phase


def test_a_fingerprint_is_the_same_in_every_gateway_and_whatever_order_a_client_writes_in() -> None:
    def mark(bias: dict[int, float]) -> bytes:
        params = SamplingParams(logit_bias=bias)
        return fingerprint(Work(request_id="", model="m", prompt_token_ids=[1], params=params))

    assert mark({1: 0.5, 2: -1.0}) == mark({2: -1.0, 1: 0.5}) != mark({1: 0.5, 2: 1.0})


# ---- two pools ----


@pytest.fixture
def gateway(pool_world: ModuleType) -> Callable[[list[Quarantined]], Any]:
    """Makes a world whose pool puts what it finds out into a list."""

    def make(found: list[Quarantined]) -> Any:
        world = pool_world.World()
        world.core = PoolCore(
            world.wires,
            limits=LimitSettings(),
            clock=lambda: world.now,
            log=lambda *_, **__: None,
            on_recovery=lambda _: None,
            on_quarantine=found.append,
        )
        world.publish()
        return world

    return make


def test_a_pool_tells_what_it_found_out_once_with_the_time_and_the_price(
    gateway: Callable[[list[Quarantined]], Any],
) -> None:
    found: list[Quarantined] = []
    world = gateway(found)
    pill, innocent = world.submit([1]), world.submit([2])
    for _ in range(3):
        world.crash("e0", pill)
    assert found == []
    world.crash("e0", pill)
    (word,) = found
    assert word.fingerprint == fingerprint(pill.work)
    assert (word.until_ns, word.crashes) == ((100 + 600) * 10**9, 4)
    world.run(world.start("e0"))
    assert innocent.read().completed
    assert world.refused([1]).outcome is Outcome.ENGINE_FAILED
    assert found == [word]


def test_another_pool_refuses_it_from_then_on_for_as_long_and_nothing_else(
    gateway: Callable[[list[Quarantined]], Any],
) -> None:
    found: list[Quarantined] = []
    first = gateway(found)
    pill = first.submit([1])
    for _ in range(4):
        first.crash("e0", pill)

    heard: list[Quarantined] = []
    second = gateway(heard)
    second.pass_time(300)
    second.start("e0")
    second.core.casualties.quarantine.hear(found[0])
    second.core.casualties.quarantine.hear(found[0])
    assert second.core.snapshot().num_quarantined == 1
    refusal = second.refused([1])
    assert (refusal.outcome, refusal.should_retry) == (Outcome.ENGINE_FAILED, False)
    assert (refusal.limit, refusal.measured) == ("quarantine_s=600", "4 crashes")
    assert refusal.message.endswith("for 300 s")
    assert second.submit([2]).entry.state is State.RUNNING
    assert heard == []  # what it was told, it does not tell

    second.pass_time(300)
    assert second.submit([1]).entry.state is State.RUNNING
    assert second.core.snapshot().num_quarantined == 0


def test_what_ran_already_may_end_well(gateway: Callable[[list[Quarantined]], Any]) -> None:
    found: list[Quarantined] = []
    world = gateway(found)
    engine = world.start("e0")
    reader = world.submit([1])
    word = Quarantined(fingerprint=fingerprint(reader.work), until_ns=200 * 10**9, crashes=4)
    world.core.casualties.quarantine.hear(word)
    world.run(engine)
    assert reader.read().completed
    assert world.refused([1]).outcome is Outcome.ENGINE_FAILED
