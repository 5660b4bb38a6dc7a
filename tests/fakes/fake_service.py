"""A gateway, or ops, without HTTP: it does on the control plane what they do, and obeys lines on its socket.

`python fake_service.py gateway|ops --runtime … --fd …`. One line in, one line out, on any number of connections::

    who                     its id, incarnation and pid
    open, done              a request arrives; one ends
    hang                    the loop stops turning
    members, died, phases   what it heard, as JSON
    status                  ops: the supervisor's status, as JSON
    order KIND TARGET JSON  ops: the reply, as JSON
"""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from typing import Any

import msgspec

from spillway.child import Child, PlaneLink, beat
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import (
    ChildReady,
    EngineDied,
    FromSupervisor,
    Membership,
    Order,
    OrderKind,
    OrderReply,
    Phase,
    PhaseKind,
    Reload,
    Role,
    Status,
    StatusRequest,
)
from spillway_wire.tally import TallyWriter


def plain(message: Any) -> Any:
    """A struct, which travels as an array, by the names of its fields."""
    if isinstance(message, msgspec.Struct):
        return {name: plain(getattr(message, name)) for name in message.__struct_fields__}
    if isinstance(message, tuple):
        return [plain(part) for part in message]
    return message


class Service:
    def __init__(self, child: Child, role: Role) -> None:
        self.child, self.role = child, role
        self.tally = TallyWriter(
            child.runtime.tally(child.child_id, child.incarnation) if role is Role.GATEWAY else None
        )
        self.members: list[Any] = []
        self.died: list[Any] = []
        self.phases: list[str] = []
        self.reloads = 0
        self.answers: asyncio.Queue[Status | OrderReply] = asyncio.Queue()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.link: PlaneLink

    def heard(self, message: FromSupervisor) -> None:
        match message:
            case Membership():
                self.members.append(plain(message))
            case EngineDied():
                self.died.append({"heard_ns": time.monotonic_ns(), **plain(message)})
            case Phase():
                self.phases.append(message.kind)
                if message.kind is PhaseKind.ENDING and self.role is Role.GATEWAY:
                    for _ in range(self.tally.open_requests):
                        self.tally.finish(Outcome.DRAINING)
                    self.end(0)
            case Reload():
                self.reloads += 1
            case Status() | OrderReply():
                self.answers.put_nowait(message)

    def end(self, status: int) -> None:
        if not self.ended.done():
            self.ended.set_result(status)

    async def answer(self, line: str) -> Any:
        word, *rest = line.split(" ", 3)
        match word:
            case "who":
                return [self.child.child_id, self.child.incarnation, os.getpid()]
            case "open":
                return self.tally.arrive()
            case "done":
                return self.tally.finish(Outcome.COMPLETED)
            case "hang":
                time.sleep(3600)  # noqa: ASYNC251 - as it says
            case "status":
                self.link.send(StatusRequest(token=1))
                return (await self.answers.get()).status  # type: ignore[union-attr]
            case "order":
                kind, target, options = rest
                self.link.send(
                    Order(token=1, kind=OrderKind(kind), target=target.strip("-"), options=json.loads(options))
                )
                return plain(await self.answers.get())
        return getattr(self, word, None)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(json.dumps(await self.answer(line.decode().strip())).encode() + b"\n")
        writer.close()


async def main() -> int:
    role = Role(sys.argv[1])
    child = Child.from_command_line(sys.argv[2:], "fake_service")
    service = Service(child, role)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, service.end, 0)
    server = await asyncio.start_server(service.converse, sock=socket.socket(fileno=child.fd))
    service.link = await PlaneLink.open(
        child.runtime,
        child_id=child.child_id,
        incarnation=child.incarnation,
        role=role,
        on_message=service.heard,
        on_lost=lambda _: service.end(1),
    )
    service.link.send(ChildReady())
    beats = asyncio.create_task(beat(service.link, facts=lambda: (service.tally.open_requests, {})))
    status = await service.ended
    beats.cancel()
    server.close()
    return status


if __name__ == "__main__":
    os._exit(asyncio.run(main()))
