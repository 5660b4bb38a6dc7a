"""Ending what a task waits for, from outside, with a reason: the client left, time is up, the server ends."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from spillway.gateway.problems import Problem


class Interruptible:
    """`async with` it: the body runs until it ends, or until somebody calls `interrupt`, and then raises that problem.

    It works as `asyncio.timeout` does, by cancelling the task and turning the cancellation back, so that it reaches
    whatever the body waits for. A cancellation of the task by others stays one.
    """

    __slots__ = ("_cancelling", "_problem", "_task")

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None
        self._problem: Problem | None = None
        self._cancelling = 0

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an interruptible body needs a task to run in")
        self._task = task
        self._cancelling = task.cancelling()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._problem is None or task is None:
            return
        if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise self._problem from None

    @property
    def problem(self) -> Problem | None:
        """Why it was interrupted, if it was."""
        return self._problem

    def interrupt(self, problem: Problem) -> None:
        """End the body; the first reason counts, and nothing happens after the body's end."""
        if self._task is not None and self._problem is None:
            self._problem = problem
            self._task.cancel()


class Due:
    """`with` it: `act` is called when the body takes longer than so many seconds, unless it is called off."""

    __slots__ = ("_act", "_seconds", "_timer")

    def __init__(self, seconds: float | None, act: Callable[[], None]) -> None:
        """`seconds` from the begin of the body; None: never."""
        self._seconds, self._act = seconds, act
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        if self._seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._act)
        return self

    def cancel(self) -> None:
        """Call it off. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
