"""The open loop and the closed one, and clients that come back when they are told to.

In the open loop a request is sent when it is due, by a schedule that was fixed before: a server that slows down is
asked no less (no coordinated omission). Refused clients may obey `Retry-After`, with the count of their retries as
OpenAI's clients tell it.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from spillway.bench.client import Clock, post
from spillway.bench.overload.callers import Heard
from spillway.bench.overload.plan import Plan, Shot
from spillway.bench.overload.reading import retry_after_s, should_retry

LONGEST_WAIT_S: Final = 120.0
"""OpenAI's clients obey no longer wait."""

CLOSED_WAIT_S: Final = 1.0
"""At most, in the closed loop: it is there to find out how much goes through."""

Call = Callable[[bytes, float], Awaitable[Heard]]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Try:
    """One try of one request, unread; times of the generator's clock."""

    shot: Shot
    attempt: int
    due: float
    heard: Heard


class Shooting:
    """Carries out one plan."""

    def __init__(self, plan: Plan, call: Call, *, clock: Clock, sleep: Sleep) -> None:
        self._plan = plan
        self._call = call
        self._clock = clock
        self._sleep = sleep
        self.tries: list[Try] = []

    async def run(self, start: float) -> None:
        """Send everything, and return when all has ended or was given up."""
        if self._plan.in_flight is None:
            await self._open(start)
        else:
            await self._closed(start, self._plan.in_flight)

    async def _open(self, start: float) -> None:
        last = self._plan.shots[-1].due_s if self._plan.shots else 0.0
        give_up_at = start + last + self._plan.patience_s
        async with asyncio.TaskGroup() as group:
            for shot in self._plan.shots:
                await self._until(start + shot.due_s)
                group.create_task(self._pursue(shot, start + shot.due_s, give_up_at))

    async def _closed(self, start: float, in_flight: int) -> None:
        waiting = itertools.cycle(self._plan.shots)
        end = start + self._plan.closed_s

        async def one_after_another() -> None:
            await self._until(start)
            while (now := self._clock()) < end:
                heard = await self._try(next(waiting), 0, now, end + self._plan.patience_s)
                wait_s = _told_to_wait(heard)
                if wait_s is not None:
                    await self._until(self._clock() + min(CLOSED_WAIT_S, wait_s))

        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(one_after_another())

    async def _pursue(self, shot: Shot, due: float, give_up_at: float) -> None:
        """Try once, and again as often as the plan allows and the server asks for it."""
        for attempt in range(self._plan.retries + 1):
            heard = await self._try(shot, attempt, due, give_up_at)
            wait_s = _told_to_wait(heard)
            if wait_s is None or attempt == self._plan.retries:
                return
            due = heard.ended + wait_s
            give_up_at = due + self._plan.patience_s
            await self._until(due)

    async def _try(self, shot: Shot, attempt: int, due: float, give_up_at: float) -> Heard:
        heard = await self._call(request(shot, attempt), give_up_at)
        self.tries.append(Try(shot, attempt, due, heard))
        return heard

    async def _until(self, moment: float) -> None:
        while (ahead := moment - self._clock()) > 0:
            await self._sleep(ahead)


def request(shot: Shot, attempt: int) -> bytes:
    """Return the bytes of a try."""
    count = {"x-stainless-retry-count": str(attempt)}
    return post(shot.path, msgspec.Raw(shot.body), headers={**shot.headers, **count})


def _told_to_wait(heard: Heard) -> float | None:
    """Return after how many seconds to come back; None: it is over, or nobody asked to come back."""
    reply = heard.reply
    if reply is None or reply.status not in {429, 503} or should_retry(reply.headers) is False:
        return None
    wait_s = retry_after_s(reply.headers)
    return wait_s if wait_s is not None and 0 < wait_s <= LONGEST_WAIT_S else None
