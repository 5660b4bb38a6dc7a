"""Faults on order: named injection points that are not even there unless the process was started with `--chaos`.

A fault is armed by an `Inject` message for `num_steps` steps from `at_step` on and strikes in each of them. Faults of
the step strike inside the runner, after the progress page has named the step, so that what watches the engine sees
what it would see of the real thing. Faults of the output strike on the finished frame.
"""

import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from spillway_engine.plan import Runner, StepPlan, StepResult
from spillway_wire.fault_names import VALUES, Fault
from spillway_wire.messages import Inject, Injected

FOR_GOOD: Final = 2**62
"""Steps that no process lives to see."""


class InjectedFaultError(RuntimeError):
    """The step was told to raise."""


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _spin() -> None:
    while True:
        pass


@dataclass(frozen=True, slots=True)
class Hands:
    """How faults touch the world; tests pass their own."""

    kill: Callable[[], None] = _kill_self
    spin: Callable[[], None] = _spin
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Armed:
    """A fault that will strike in steps `first` to `last`."""

    fault: Fault
    first: int
    last: int
    value: float


class Faults:
    """What is armed, and the strikes themselves."""

    def __init__(self, *, hold_back: Callable[[float], None], hands: Hands | None = None) -> None:
        self._hands = hands or Hands()
        self._hold_back = hold_back
        """Holds back this share of all blocks; 0 gives them back."""
        self._holding = 0.0
        self._round = 0
        self._late: dict[str, bytes] = {}
        """Frames that are sent behind the client's next one."""
        self.armed: tuple[Armed, ...] = ()
        self.num_struck = 0
        self.on_struck: Callable[[int], None] = lambda _: None
        """Told how many have struck, before it hurts: after some strikes nothing is told any more."""

    def arm(self, order: Inject, last_step: int) -> Injected:
        """Arm a fault, or say why not; `last_step` is the last step that has begun."""
        problem = self._problem(order, last_step)
        if problem is not None:
            return Injected(fault=order.fault, armed=False, message=problem)
        first = last_step + 1 if order.at_step is None else order.at_step
        self.armed += (Armed(Fault(order.fault), first, first + order.num_steps - 1, order.value),)
        return Injected(fault=order.fault, armed=True, message=f"strikes from step {first} on")

    def arm_for_good(self, given: str) -> None:
        """Arm `FAULT:VALUE,FAULT,…` from the first step on, for all. Raises ValueError that says what is wrong."""
        for word in given.split(","):
            name, _, value = word.partition(":")
            try:
                order = Inject(fault=name, value=float(value or 0.0), num_steps=FOR_GOOD)
            except ValueError:
                raise ValueError(f"{word!r} is no fault with a number, such as slow_step:0.02") from None
            problem = self._problem(order, last_step=0)
            if problem is not None:
                raise ValueError(problem)
            self.arm(order, last_step=0)

    def _problem(self, order: Inject, last_step: int) -> str | None:
        if order.fault not in tuple(Fault):
            return f"unknown fault {order.fault!r}; there are: {', '.join(Fault)}"
        if order.at_step is not None and order.at_step <= last_step:
            return f"at_step is {order.at_step}; step {last_step} has begun already"
        if order.num_steps < 1:
            return f"num_steps is {order.num_steps}; it must be at least 1"
        low, high = VALUES.get(Fault(order.fault), (-math.inf, math.inf))
        if not low <= order.value <= high:
            return f"value is {order.value}; {order.fault} takes {low:g} to {high:g}"
        return None

    def _striking(self, step: int, *faults: Fault) -> list[Armed]:
        now = [armed for armed in self.armed if armed.fault in faults and armed.first <= step <= armed.last]
        if now:
            self.num_struck += len(now)
            self.on_struck(self.num_struck)
        return now

    # ---- where they strike, in the order of a step ----

    def before_schedule(self, step: int) -> None:
        """Forget what is over; hold back blocks for `step`, or give them back.

        A round in which nothing could be scheduled has no step of its own, and `step` comes again. It counts as one
        here, or blocks whose lack stops all work would never be given back.
        """
        if step == self._round and self._holding:
            self.armed = tuple(replace(a, last=a.last - 1) if a.fault is Fault.KV_EXHAUSTION else a for a in self.armed)
        self._round = step
        self.armed = tuple(armed for armed in self.armed if step <= armed.last)
        share = max((armed.value for armed in self._striking(step, Fault.KV_EXHAUSTION)), default=0.0)
        if share != self._holding:
            self._hold_back(share)
            self._holding = share

    def before_execute(self, plan: StepPlan) -> None:
        """Strike inside the step, before it computes anything."""
        step = plan.step
        pills = {armed.value for armed in self.armed if armed.fault is Fault.POISON}
        if pills and any(row.sequence.params.max_tokens in pills for row in plan.rows):
            self._striking(step, Fault.POISON)
            self._hands.kill()
        for armed in self._striking(step, *_BEFORE_EXECUTE):
            match armed.fault:
                case Fault.CRASH:
                    self._hands.kill()
                case Fault.ENDLESS_STEP:
                    self._hands.spin()
                case Fault.SLOW_STEP:
                    self._hands.sleep(armed.value)
                case Fault.EXCEPTION:
                    raise InjectedFaultError(f"injected into step {step}")
                case _:
                    raise MemoryError(f"injected into step {step}")

    def after_execute(self, plan: StepPlan, result: StepResult) -> StepResult:
        """Spoil rows of the step's result."""
        for armed in self._striking(plan.step, Fault.NAN_LOGITS):
            sampling = [index for index, row in enumerate(plan.rows) if row.samples]
            failed = frozenset(sampling[: max(1, math.ceil(armed.value * len(sampling)))])
            result = replace(
                result,
                token_ids=[None if index in failed else token for index, token in enumerate(result.token_ids)],
                failed=result.failed | failed,
                logprobs={index: value for index, value in result.logprobs.items() if index not in failed},
            )
        return result

    def on_frame(self, step: int, client_id: str, frame: bytes) -> bytes | None:
        """Drop, mangle, double or hold back an output frame; its length stays true: no other is lost with it."""
        if self._striking(step, Fault.DROP_OUTPUT):
            return None
        if self._striking(step, Fault.CORRUPT_OUTPUT):
            return frame[:4] + bytes(byte ^ 0xA5 for byte in frame[4:])
        if self._striking(step, Fault.DUPLICATE_OUTPUT):
            return frame + frame
        if self._striking(step, Fault.LATE_OUTPUT):
            self._late[client_id] = self._late.get(client_id, b"") + frame
            return None
        return frame + self._late.pop(client_id, b"")


_BEFORE_EXECUTE = (Fault.CRASH, Fault.ENDLESS_STEP, Fault.SLOW_STEP, Fault.EXCEPTION, Fault.OUT_OF_MEMORY)


class FaultyRunner:
    """A runner in which faults can strike."""

    def __init__(self, inner: Runner, faults: Faults) -> None:
        self._inner, self._faults = inner, faults

    def execute(self, plan: StepPlan) -> StepResult:
        """Run `plan`, with what is armed for it."""
        self._faults.before_execute(plan)
        return self._faults.after_execute(plan, self._inner.execute(plan))

    def close(self) -> None:
        """Close the runner inside."""
        self._inner.close()
