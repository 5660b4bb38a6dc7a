"""Tells receivers of alerts. Each has a queue of its own and a task: one that is dead costs nobody else anything.

What cannot be delivered is tried again with growing pauses, then given up and counted; a queue that is full drops its
oldest notification, because the newest says how things are.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from spillway_slo.alerts import AlertState, notifications

Log = Callable[..., None]
_QUEUE: Final = 256
"""Notifications that wait for one receiver."""
_TRIES: Final = 6
_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_TIMEOUT_S: Final = 5.0
SENT: Final = "sent"
FAILED: Final = "failed"
DROPPED: Final = "dropped"


class Webhooks:
    """All receivers. `client` and `pause_s` are others in tests."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        external_url: str,
        log: Log,
        client: httpx.AsyncClient | None = None,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._external_url, self._log, self._pause_s = external_url, log, pause_s
        self._client = client or httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False)
        self.counts = dict.fromkeys((SENT, FAILED, DROPPED), 0)
        self._receivers = [self._receiver(url) for url in urls]
        self._leaving: list[_Receiver] = []
        self._is_started = False

    def _receiver(self, url: str) -> "_Receiver":
        return _Receiver(url, self._client, self.counts, self._log, self._pause_s)

    @property
    def num_waiting(self) -> int:
        """Notifications that were not tried yet."""
        return sum(len(receiver.waiting) for receiver in self._receivers)

    def start(self) -> None:
        """Begin to deliver; needs a running loop."""
        self._is_started = True
        for receiver in self._receivers:
            receiver.start()

    def reload(self, urls: Sequence[str], *, external_url: str) -> None:
        """Tell others from now on. Who stays keeps what waits; who goes is told what waits, and nothing new."""
        self._external_url = external_url
        known = {receiver.url: receiver for receiver in self._receivers}
        self._leaving = [receiver for receiver in self._leaving if receiver.waiting]
        self._leaving += [receiver for url, receiver in known.items() if url not in urls]
        self._receivers = [known.get(url) or self._receiver(url) for url in urls]
        if self._is_started:
            for receiver in self._receivers:
                if receiver.url not in known:
                    receiver.start()

    def offer(self, changed: Iterable[AlertState]) -> None:
        """Queue what changed for everybody. Never waits."""
        told = list(changed)
        if told:
            for receiver in self._receivers:
                for body in notifications(told, receiver=receiver.name, external_url=self._external_url):
                    receiver.offer(body)

    async def close(self) -> None:
        """Give up what was not delivered. Idempotent."""
        for receiver in (*self._receivers, *self._leaving):
            await receiver.close()
        await self._client.aclose()


class _Receiver:
    """One URL."""

    def __init__(self, url: str, client: httpx.AsyncClient, counts: dict[str, int], log: Log, pause_s: float) -> None:
        self.url, self._client, self._counts, self._log, self._pause_s = url, client, counts, log, pause_s
        self.name = urlsplit(url).hostname or url
        """For logs and bodies: a URL may hold a secret."""
        self.waiting: deque[dict[str, Any]] = deque()
        self._there = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._deliver())

    def offer(self, body: dict[str, Any]) -> None:
        if len(self.waiting) >= _QUEUE:
            self.waiting.popleft()
            self._counts[DROPPED] += 1
        self.waiting.append(body)
        self._there.set()

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _deliver(self) -> None:
        while True:
            await self._there.wait()
            while self.waiting:
                await self._send(self.waiting.popleft())
            self._there.clear()

    async def _send(self, body: dict[str, Any]) -> None:
        tries = AsyncRetrying(
            stop=stop_after_attempt(_TRIES),
            wait=wait_random_exponential(multiplier=self._pause_s, max=_LONGEST_PAUSE_S),
            retry=retry_if_exception_type(httpx.HTTPError),
        )
        try:
            async for attempt in tries:
                with attempt:
                    answer = await self._client.post(self.url, json=body)
                    answer.raise_for_status()
        except RetryError as error:
            self._counts[FAILED] += 1
            self._log("webhook_failed", receiver=self.name, tries=_TRIES, error=_cause(error))
        except (httpx.InvalidURL, ValueError) as error:
            self._counts[FAILED] += 1
            self._log("webhook_failed", receiver=self.name, tries=1, error=type(error).__name__)
        else:
            self._counts[SENT] += 1


def _cause(error: RetryError) -> str:
    """Return what went wrong at last, without the URL."""
    last = error.last_attempt.exception()
    if isinstance(last, httpx.HTTPStatusError):
        return f"status {last.response.status_code}"
    return type(last).__name__
