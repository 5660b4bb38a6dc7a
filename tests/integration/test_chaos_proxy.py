"""A poisoned link between real sockets: each toxic does what its name says, and is gone when it is cured."""

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from spillway_chaos.errors import UsageError
from spillway_chaos.stage.proxy import Link
from spillway_chaos.stage.toxics import toxic_of

PATIENCE_S = 20.0


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65_536):
                self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


@pytest.fixture
def link() -> Iterator[Link]:
    with Server(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        found = Link(("127.0.0.1", server.server_address[1]), seed=1)
        try:
            yield found
        finally:
            found.close()
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def client(link: Link) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", link.port), PATIENCE_S) as connection:
        yield connection


def ask(connection: socket.socket, data: bytes = b"ping") -> bytes:
    connection.sendall(data)
    answer = b""
    while len(answer) < len(data):
        piece = connection.recv(65_536)
        if not piece:
            break
        answer += piece
    return answer


def test_a_healthy_link_passes_everything_on(link: Link) -> None:
    with client(link) as connection:
        big = bytes(range(256)) * 2000
        assert ask(connection) == b"ping"
        assert ask(connection, big) == big
    assert (link.counts.connections, link.counts.poisoned_bytes) == (1, 0)


def test_latency_comes_and_goes(link: Link) -> None:
    with client(link) as connection:
        link.add(toxic_of("latency", {"latency": 150}))
        begun = time.monotonic()
        assert ask(connection) == b"ping"
        assert time.monotonic() - begun >= 0.15
        assert link.counts.poisoned_bytes == 4
        link.cure()
        assert ask(connection) == b"ping"
        assert link.counts.poisoned_bytes == 4


def test_a_timeout_holds_data_until_it_is_cured(link: Link) -> None:
    with client(link) as connection:
        link.add(toxic_of("timeout", {}))
        connection.sendall(b"ping")
        while not link.counts.poisoned_bytes:
            time.sleep(0.001)
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(4)
        connection.settimeout(PATIENCE_S)
        link.cure()
        assert connection.recv(4) == b"ping"


def test_a_timeout_closes_in_the_end(link: Link) -> None:
    link.add(toxic_of("timeout", {"timeout": 20}))
    with client(link) as connection:
        connection.sendall(b"ping")
        assert connection.recv(4) == b""
    assert link.counts.cut == 1


def first_byte(link: Link) -> bytes:
    with client(link) as connection:
        return connection.recv(1)


def test_a_reset_is_a_reset(link: Link) -> None:
    link.add(toxic_of("reset_peer", {}))
    with pytest.raises(ConnectionResetError):  # by the connecting, or by the reading
        first_byte(link)


def test_limited_data_ends_behind_its_limit(link: Link) -> None:
    link.add(toxic_of("limit_data", {"bytes": 3}))
    with client(link) as connection:
        assert ask(connection) == b"pin"


def test_a_corrupt_link_keeps_lengths(link: Link) -> None:
    link.add(toxic_of("corrupt", {"every": 4}))
    with client(link) as connection:
        answer = ask(connection)
        assert len(answer) == 4
        assert answer != b"ping"


def test_slices_are_put_together_again(link: Link) -> None:
    link.add(toxic_of("slicer", {"average_size": 2, "size_variation": 1, "delay": 100}), stream="upstream")
    with client(link) as connection:
        assert ask(connection, b"abcdefgh") == b"abcdefgh"


def test_a_link_that_is_down_refuses_and_cuts_and_comes_up_at_the_same_port(link: Link) -> None:
    port = link.port
    with client(link) as connection:
        assert ask(connection) == b"ping"
        link.down()
        assert connection.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    link.up()
    with client(link) as connection:
        assert ask(connection) == b"ping"
    assert link.port == port


def test_toxicity_is_the_share_of_connections_that_are_hit(link: Link) -> None:
    link.add(toxic_of("corrupt", {}), toxicity=0.5)
    hit = 0
    for _ in range(40):
        with client(link) as connection:
            hit += ask(connection) != b"ping"
    assert 8 <= hit <= 32  # of 40 by a fixed seed


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("latency", {}),
        ("latency", {"latency": -1}),
        ("lateness", {}),
        ("bandwidth", {"rate": 0}),
        ("corrupt", {"x": 1}),
    ],
    ids=["missing", "negative", "unknown", "zero", "surplus"],
)
def test_a_wrong_toxic_is_told(kind: str, attributes: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"the toxic {kind!r}"):
        toxic_of(kind, attributes)
