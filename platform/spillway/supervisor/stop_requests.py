"""How often this instance was asked to end: once, in good order; twice, without waiting; three times, at once."""

import asyncio

END, HURRY, KILL = 1, 2, 3


class StopRequests:
    """Signal handlers and orders only count here; who acts waits."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def ask(self) -> None:
        """Ask once more."""
        self.count += 1
        for level, future in self._waiting:
            if level <= self.count and not future.done():
                future.set_result(None)
        self._waiting = [(level, future) for level, future in self._waiting if not future.done()]

    def ask_once(self) -> None:
        """Ask, unless it was asked before: for what may be said twice and means one thing."""
        if not self.count:
            self.ask()

    async def reached(self, level: int) -> None:
        """Wait until it was asked `level` times."""
        if self.count < level:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((level, future))
            await future

    async def within(self, level: int, timeout_s: float) -> bool:
        """Wait until then, but no longer than `timeout_s`; say whether it was asked so often."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.reached(level)
        except TimeoutError:
            return False
        return True
