"""Engine processes without a model (`fake_engine` as a program), to be killed under a real pool."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from spillway_engine.client.engine_client import EngineClient
from spillway_wire.page import PageReader, create_page

Aboard = tuple[tuple[str, str, int, int], ...]


class Child:
    """One process, that serves at `address` and writes its page."""

    def __init__(self, process: asyncio.subprocess.Process, address: str, page: Path) -> None:
        self.process, self.address, self.page = process, address, page

    @classmethod
    async def start(cls, command: tuple[str, ...], folder: Path, name: str) -> "Child":
        """Start one; return when it is ready."""
        page = folder / f"{name}.page"
        create_page(page)
        address = f"unix:{folder / name}.sock"
        process = await asyncio.create_subprocess_exec(
            *command, "--model", "fake", "--address", address, "--page", str(page), "--parent-pid", str(os.getpid()),
            "--chaos",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdout is not None
        assert (await process.stdout.readline()).startswith(b"ready")
        return cls(process, address, page)

    async def slow_down(self, seconds: float) -> None:
        """Have every step take so long."""
        async with await EngineClient.connect(self.address) as operator:
            await operator.inject("slow_step", value=seconds, num_steps=100_000)

    async def kill(self) -> Aboard:
        """SIGKILL; return who was aboard the running step, as a supervisor reads it."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        with contextlib.closing(PageReader(self.page)) as reader:
            progress = reader.read()
        return () if progress is None or progress.started_ns is None else progress.aboard


@contextlib.asynccontextmanager
async def killing(children: dict[str, Child]) -> AsyncIterator[None]:
    """Leaves none of them behind."""
    try:
        yield
    finally:
        for child in children.values():
            await child.kill()
