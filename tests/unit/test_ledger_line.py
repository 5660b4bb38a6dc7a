"""The one place that speaks to Redis: whatever a broken connection ends in is known as Redis being away."""

import asyncio
from typing import Any, cast

import pytest
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError

from spillway.admission.ledger.breaker import Sign
from spillway.admission.ledger.line import AwayError, Line


class Connection:
    """Breaks as told, at every write."""

    is_connected = True

    def __init__(self, error: Exception) -> None:
        self.error, self.num_closed = error, 0

    def make_connection(self) -> "Connection":
        return self

    def pack_commands(self, commands: Any) -> Any:
        return commands

    async def connect(self) -> None:
        self.is_connected = True

    async def send_packed_command(self, packed: Any, *, check_health: bool) -> None:
        assert packed
        assert not check_health
        raise self.error

    async def disconnect(self, *, nowait: bool) -> None:
        assert nowait
        self.is_connected = False
        self.num_closed += 1


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("reset"),
        ConnectionResetError(104, "reset"),
        EOFError(),
        RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed"),
    ],
    ids=["redis", "system", "end", "uvloop"],
)
def test_a_broken_connection_is_tried_once_more_and_then_away(error: Exception) -> None:
    connection = Connection(error)
    line = Line(cast("ConnectionPool", connection))
    with pytest.raises(AwayError) as away:
        asyncio.run(line.ask([("PING",)], within_s=5.0))
    assert (away.value.sign, away.value.maybe_done) == (Sign.ERROR, True)
    assert connection.num_closed == 2
