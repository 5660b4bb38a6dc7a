"""How an instance ends: of its own accord with every stream served, or killed with nothing left of it."""

import asyncio
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any

import psutil

from spillway.bench.client import Connection, post
from spillway.bench.served import SERVES_ALL, Served
from spillway.bench.streams import Answer, Count, stream

ONE_ENGINE = ("--engines", "1", "--drain-grace-s", "0", *SERVES_ALL)


def family(served: Served) -> list[psutil.Process]:
    supervisor = psutil.Process(served.process.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def refuses(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) != 0


def test_after_a_kill_of_the_supervisor_nothing_is_left_and_the_folder_can_be_used_again() -> None:
    with tempfile.TemporaryDirectory(prefix="spillway-e2e-") as folder:
        first = Served.start(*ONE_ENGINE, folder=Path(folder))
        processes = family(first)
        assert len(processes) >= 4  # supervisor, engine, gateway, ops
        first.kill()
        assert psutil.wait_procs(processes, timeout=10)[1] == []
        assert refuses(first.api)
        assert refuses(first.ops)

        second = Served.start(*ONE_ENGINE, folder=Path(folder))
        processes = family(second)
        asyncio.run(_drains(second))
        assert second.process.wait(30) == 0
        second.close()
        assert psutil.wait_procs(processes, timeout=10)[1] == []
        assert refuses(second.api)


async def _drains(served: Served) -> None:
    """SIGTERM while streams count: they are served to their end, and what comes after is refused as draining."""
    long = Count(1, 2).fields() | {"ignore_eos": True, "max_tokens": 1500}
    connections = [await served.connect() for _ in range(9)]
    begun = [asyncio.Event() for _ in connections[:-1]]
    streams = [
        asyncio.ensure_future(_follow(connection, long, event))
        for connection, event in zip(connections[:-1], begun, strict=True)
    ]
    async with asyncio.timeout(60):
        for each in begun:
            await each.wait()  # a stream that the server has not begun with may be refused, too
    served.process.send_signal(signal.SIGTERM)
    late = connections[-1]
    while (refused := await late.exchange(post("/generate", {"prompt": "Hello", "max_tokens": 1}))).status == 200:
        pass  # the signal is on its way
    assert refused.status == 503
    assert refused.json()["error"]["code"] == "server_is_overloaded"
    assert "retry-after" in refused.headers
    for answer in await asyncio.gather(*streams):
        assert answer.is_success
        assert answer.finish_reasons == {0: "length"}
        assert answer.usage is not None
        assert answer.usage["completion_tokens"] == 1500
    for connection in connections:
        connection.close()


async def _follow(connection: Connection, fields: dict[str, Any], begun: asyncio.Event) -> Answer:
    return await stream(connection, fields, on_text=lambda _: begun.set())
