"""An engine asked over its own channels: what an answer takes without a gateway in between."""

import asyncio
import itertools
import time

import msgspec

from spillway.bench.load import Timing
from spillway_wire.address import parse_address
from spillway_wire.channel import Connection, connect
from spillway_wire.codec import FrameEncoder, Malformed
from spillway_wire.messages import Channel, FromEngine, Hello, StepOutput, Submit, Welcome


class DirectClient:
    """A client of one engine that keeps nothing of the answers but their times."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[float, asyncio.Future[Timing]]] = {}
        self._first: dict[str, float] = {}
        self._numbers = itertools.count(1)
        self._wires: list[Connection[FromEngine]] = []
        self._greeted = asyncio.Event()

    @classmethod
    async def open(cls, address: str) -> "DirectClient":
        """Open the output and the request channel of the engine at `address`."""
        client = cls()
        for channel in (Channel.OUTPUT, Channel.REQUEST):
            client._greeted.clear()
            wire = await connect(parse_address(address), client._connection)
            client._wires.append(wire)
            wire.send(Hello(client_id="direct", channel=channel))
            await client._greeted.wait()
        return client

    async def send(self, request: bytes) -> Timing:
        """Submit a request, given as an encoded `Submit`, under an id of its own, and wait for its end."""
        submit = msgspec.structs.replace(_decode_submit(request), request_id=f"direct-{next(self._numbers)}")
        sent = time.perf_counter()
        over: asyncio.Future[Timing] = asyncio.get_running_loop().create_future()
        self._open[submit.request_id] = sent, over
        self._wires[-1].send(submit)
        return await over

    def close(self) -> None:
        """Close."""
        for wire in self._wires:
            wire.close("the benchmark is over")

    def _connection(self) -> Connection[FromEngine]:
        return Connection(FromEngine, FrameEncoder(), on_message=self._received, on_closed=lambda *_: None)

    def _received(self, _: Connection[FromEngine], message: FromEngine | Malformed) -> None:
        now = time.perf_counter()
        if isinstance(message, Welcome):
            self._greeted.set()
        if not isinstance(message, StepOutput):
            return
        for delta in message.deltas:
            first = self._first.setdefault(delta.request_id, now)
            if delta.finish is not None and delta.request_id in self._open:
                sent, over = self._open.pop(delta.request_id)
                del self._first[delta.request_id]
                if not over.done():
                    over.set_result(Timing(first - sent, now - sent))


_decode_submit = msgspec.msgpack.Decoder(Submit).decode
