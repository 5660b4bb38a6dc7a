"""Injected faults: they strike where and when they were ordered, and nowhere else."""

import pytest

from spillway_engine.plan import Row, StepPlan, StepResult
from spillway_engine.process.exits import cause_of
from spillway_engine.process.faults import Faults, FaultyRunner, Hands, InjectedFaultError
from spillway_engine.request import Request, Sequence
from spillway_wire.fault_names import MEANINGS, Fault
from spillway_wire.messages import Inject
from spillway_wire.sampling import SamplingParams


class World:
    """Notes what faults do to it."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self.hands = Hands(
            kill=lambda: self.seen.append("kill"),
            spin=lambda: self.seen.append("spin"),
            sleep=lambda seconds: self.seen.append(("sleep", seconds)),
        )
        self.faults = Faults(hold_back=lambda share: self.seen.append(("hold", share)), hands=self.hands)


class EchoRunner:
    def execute(self, plan: StepPlan) -> StepResult:
        return StepResult([index if row.samples else None for index, row in enumerate(plan.rows)])

    def close(self) -> None:
        pass


def plan(step: int, samples: tuple[bool, ...] = (True,)) -> StepPlan:
    request = Request(key=("a", "x", 1), prompt_token_ids=[1], params=SamplingParams(), arrival=1)
    rows = tuple(Row(Sequence(request, 0, max_output_tokens=9), 0, 1, flag) for flag in samples)
    return StepPlan(step, rows, len(rows))


@pytest.fixture
def world() -> World:
    return World()


def test_every_fault_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Fault)


@pytest.mark.parametrize(
    ("fault", "value", "trace"),
    [("crash", 0.0, "kill"), ("endless_step", 0.0, "spin"), ("slow_step", 1.5, ("sleep", 1.5))],
)
def test_a_fault_strikes_in_its_steps_only(world: World, fault: str, value: float, trace: object) -> None:
    runner = FaultyRunner(EchoRunner(), world.faults)
    assert world.faults.arm(Inject(fault=fault, at_step=3, num_steps=2, value=value), last_step=1).armed
    struck_in = []
    for step in range(2, 7):
        world.faults.before_schedule(step)
        runner.execute(plan(step))
        if world.seen:
            assert world.seen == [trace]
            world.seen.clear()
            struck_in.append(step)
    assert struck_in == [3, 4]
    assert world.faults.num_struck == 2
    assert world.faults.armed == ()


def test_a_strike_is_told_before_it_hurts(world: World) -> None:
    world.faults.on_struck = world.seen.append
    world.faults.arm(Inject(fault="crash", num_steps=2), last_step=0)
    for step in (1, 2, 3):
        FaultyRunner(EchoRunner(), world.faults).execute(plan(step))
    assert world.seen == [1, "kill", 2, "kill"]


@pytest.mark.parametrize(("fault", "raises"), [("exception", InjectedFaultError), ("out_of_memory", MemoryError)])
def test_faults_that_raise(world: World, fault: str, raises: type[Exception]) -> None:
    assert world.faults.arm(Inject(fault=fault), last_step=4).armed
    with pytest.raises(raises, match="step 5"):
        FaultyRunner(EchoRunner(), world.faults).execute(plan(5))


@pytest.mark.parametrize(
    ("value", "failed"), [(0.0, {0}), (0.5, {0, 2}), (1.0, {0, 2, 3, 4})], ids=["one", "half", "all"]
)
def test_nan_logits_fail_sampling_rows_only(world: World, value: float, failed: set[int]) -> None:
    assert world.faults.arm(Inject(fault="nan_logits", value=value), last_step=0).armed
    result = FaultyRunner(EchoRunner(), world.faults).execute(plan(1, (True, False, True, True, True)))
    assert result.failed == failed
    assert [index for index, token in enumerate(result.token_ids) if token is None] == sorted(failed | {1})


def test_held_blocks_are_given_back_after_the_steps(world: World) -> None:
    assert world.faults.arm(Inject(fault="kv_exhaustion", value=0.9, num_steps=2), last_step=0).armed
    for step in (1, 2, 3, 4):
        world.faults.before_schedule(step)
    assert world.seen == [("hold", 0.9), ("hold", 0.0)]


def test_held_blocks_are_given_back_when_no_step_can_be_scheduled(world: World) -> None:
    assert world.faults.arm(Inject(fault="kv_exhaustion", value=1.0, num_steps=3), last_step=0).armed
    for _ in range(4):
        world.faults.before_schedule(1)
    assert world.seen == [("hold", 1.0), ("hold", 0.0)]


def test_frames_are_dropped_or_mangled_behind_their_length(world: World) -> None:
    assert world.faults.arm(Inject(fault="drop_output", at_step=2), last_step=0).armed
    assert world.faults.arm(Inject(fault="corrupt_output", at_step=3), last_step=0).armed
    frame = b"\x00\x00\x00\x02ab"
    assert world.faults.on_frame(1, "g", frame) == frame
    assert world.faults.on_frame(2, "g", frame) is None
    mangled = world.faults.on_frame(3, "g", frame)
    assert mangled is not None
    assert (mangled[:4], len(mangled)) == (frame[:4], len(frame))
    assert mangled != frame


def test_frames_are_doubled_or_come_behind_the_next_one_of_their_client(world: World) -> None:
    assert world.faults.arm(Inject(fault="duplicate_output", at_step=1), last_step=0).armed
    assert world.faults.arm(Inject(fault="late_output", at_step=2, num_steps=2), last_step=0).armed
    sent = [world.faults.on_frame(step, client, f"{client}{step}".encode()) for step in range(1, 6) for client in "gh"]
    assert sent == [b"g1g1", b"h1h1", None, None, None, None, b"g4g2g3", b"h4h2h3", b"g5", b"h5"]


def test_poison_kills_where_it_is_aboard(world: World) -> None:
    assert world.faults.arm(Inject(fault="poison", value=13, num_steps=99), last_step=0).armed
    runner = FaultyRunner(EchoRunner(), world.faults)
    runner.execute(plan(1))
    assert world.seen == []
    pill = Request(key=("a", "x", 1), prompt_token_ids=[1], params=SamplingParams(max_tokens=13), arrival=1)
    runner.execute(StepPlan(2, (*plan(2).rows, Row(Sequence(pill, 0, max_output_tokens=13), 0, 1, True)), 2))
    assert (world.seen, world.faults.num_struck) == (["kill"], 1)


def test_faults_armed_for_good_strike_in_every_step(world: World) -> None:
    world.faults.arm_for_good("slow_step:0.5,crash")
    runner = FaultyRunner(EchoRunner(), world.faults)
    for step in (1, 1_000_000):
        world.faults.before_schedule(step)
        runner.execute(plan(step))
    assert world.seen == [("sleep", 0.5), "kill"] * 2


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("gremlins", "unknown fault 'gremlins'"),
        ("slow_step:x", "'slow_step:x' is no fault with"),
        ("slow_step:-1", "value is -1"),
    ],
)
def test_what_cannot_be_armed_for_good_is_told(world: World, given: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        world.faults.arm_for_good(given)


@pytest.mark.parametrize(
    ("order", "why"),
    [
        (Inject(fault="gremlins"), "unknown fault 'gremlins'; there are: crash, exception, endless_step"),
        (Inject(fault="crash", at_step=5), "at_step is 5; step 5 has begun already"),
        (Inject(fault="crash", num_steps=0), "num_steps is 0; it must be at least 1"),
        (Inject(fault="kv_exhaustion", value=1.5), "value is 1.5; kv_exhaustion takes 0 to 1"),
        (Inject(fault="slow_step", value=float("nan")), "value is nan; slow_step takes 0 to 3600"),
    ],
)
def test_a_wrong_order_is_refused_with_the_reason_and_arms_nothing(world: World, order: Inject, why: str) -> None:
    answer = world.faults.arm(order, last_step=5)
    assert not answer.armed
    assert answer.message.startswith(why)
    assert world.faults.armed == ()


class OutOfMemoryError(RuntimeError):
    """Named like a device library's."""


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (MemoryError(), "out_of_memory"),
        (OutOfMemoryError(), "out_of_memory"),
        (type("DeviceFullError", (OutOfMemoryError,), {})(), "out_of_memory"),
        (type("AcceleratorError", (RuntimeError,), {})(), "device"),
        (ValueError(), "exception"),
    ],
)
def test_the_kind_of_failure_is_named(error: Exception, cause: str) -> None:
    assert cause_of(error) == cause
