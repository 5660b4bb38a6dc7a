"""The load generator's HTTP: every piece is heard when it comes, and every way to break has its name.

The server is a thread that waits for the client where order matters, so that nothing here depends on time: a client
that held pieces back until more came would wait for ever.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
import pytest

from spillway_load.asking import Asker, Attempt
from spillway_load.campaign import Clients
from spillway_load.http_stream import Connections, Target
from spillway_load.objectives import Limits
from spillway_load.plan import Shot
from spillway_load.prompts import Expected
from spillway_load.record import Fate, judge

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nopenai-processing-ms: 3\r\n\r\n"
DEADLINE_S = 60.0
SHOT = Shot(
    number=0, due_s=0.0, body=b"{}", expected=Expected(3, "stop", "1 2"), label="", work="count", tier="all", tenant=""
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def piece(text: str) -> bytes:
    return chunk(b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % text.encode())


END = (
    chunk(b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n')
    + chunk(b'data: {"choices": [], "usage": {"completion_tokens": 3}}\n\n')
    + chunk(b"data: [DONE]\n\n")
    + chunk(b"")
)
WHOLE = HEAD + piece("1") + piece(" 2") + END
REFUSED = b"HTTP/1.1 429 Too Many\r\nContent-Length: 2\r\nretry-after-ms: 1\r\nx-spillway-outcome: overloaded\r\n\r\n{}"

Script = Callable[[socket.socket], None]


@contextmanager
def server(*scripts: Script) -> Iterator[Target]:
    """Answer one request after another, each on whatever connection it comes."""
    listening = socket.create_server(("127.0.0.1", 0))
    waiting = iter(scripts)

    def serve(wire: socket.socket) -> None:
        with wire:
            while request := wire.recv(65_536):
                assert request.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
                script = next(waiting)
                script(wire)
                if wire.fileno() < 0:
                    return

    def accept() -> None:
        while True:
            try:
                wire, _ = listening.accept()
            except OSError:
                return
            serve(wire)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield Target.of(f"http://127.0.0.1:{listening.getsockname()[1]}")
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(DEADLINE_S)


def says(data: bytes) -> Script:
    return lambda wire: wire.sendall(data)


def says_and_closes(data: bytes) -> Script:
    def script(wire: socket.socket) -> None:
        wire.sendall(data)
        wire.close()

    return script


def resets(wire: socket.socket) -> None:
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


def asked(target: Target, clients: Clients | None = None, shot: Shot = SHOT) -> Attempt:
    connections = Connections(target)
    try:
        return Asker(connections, clients or Clients(patience_s=DEADLINE_S), sleep=gevent.sleep).attempt(shot, 0)
    finally:
        connections.close()


def test_each_piece_is_heard_before_the_next_is_sent() -> None:
    heard = threading.Semaphore(0)

    def script(wire: socket.socket) -> None:
        wire.sendall(HEAD)
        for text in ("1", " 2"):
            wire.sendall(piece(text))
            assert heard.acquire(timeout=DEADLINE_S)
        wire.sendall(END)

    with server(script) as target:
        connections = Connections(target)
        asker = Asker(connections, Clients(patience_s=DEADLINE_S), sleep=gevent.sleep)
        asking = gevent.spawn(asker.pursue, SHOT, time.monotonic())
        for number in (1, 2):
            while asker.num_pieces < number and not asking.dead:
                gevent.sleep(0)
            heard.release()
        record = asking.get(timeout=DEADLINE_S)
        connections.close()
    assert (record.outcome, record.is_right, record.num_tokens, record.server_ms) == ("completed", True, 3, 3)
    assert len(record.gaps_us) == 1
    assert judge(record, Limits(ttft_ms=1e6, tpot_ms=1e6)) is Fate.GOOD


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        (says(WHOLE), "completed"),
        (says_and_closes(HEAD + piece("1")), "truncated"),
        (says_and_closes(HEAD + piece("1") + b"7\r\nda"), "truncated"),
        (says(HEAD + piece("1") + chunk(b"")), "truncated"),
        (says_and_closes(b""), "connection_reset"),
        (resets, "connection_reset"),
        (says_and_closes(b"no HTTP at all\r\n\r\n"), "malformed"),
        (says_and_closes(HEAD + chunk(b"data: {no json\n\n")), "malformed"),
        (says(REFUSED), "overloaded"),
        (says(b"HTTP/1.1 502 Bad\r\nContent-Length: 3\r\n\r\nbad"), "http_502"),
    ],
    ids=["whole", "cut", "cut in a chunk", "no DONE", "closed", "reset", "no HTTP", "no JSON", "refused", "proxy"],
)
def test_every_end_has_its_name(script: Script, outcome: str) -> None:
    with server(script) as target:
        assert asked(target).outcome == outcome


def test_nobody_there_is_told_as_that() -> None:
    with server() as target:
        pass
    assert asked(target).outcome == "connect_refused"


def test_patience_ends() -> None:
    with server(says(HEAD)) as target:
        assert asked(target, Clients(patience_s=0.05)).outcome == "timeout"


def test_a_client_leaves_in_the_middle() -> None:
    left = Shot(**{**{name: getattr(SHOT, name) for name in SHOT.__struct_fields__}, "leaves_after": 1})
    with server(says(HEAD + piece("1"))) as target:
        assert asked(target, shot=left).outcome == "left"


def test_a_refused_client_comes_back_on_the_same_connection() -> None:
    with server(says(REFUSED), says(WHOLE)) as target:
        connections = Connections(target)
        asker = Asker(connections, Clients(patience_s=DEADLINE_S, retries=3), sleep=gevent.sleep)
        record = asker.pursue(SHOT, time.monotonic())
        connections.close()
    assert (record.outcome, record.attempts) == ("completed", 2)


def test_a_connection_that_the_server_has_closed_is_not_used_again() -> None:
    gone = threading.Event()

    def script(wire: socket.socket) -> None:
        wire.sendall(WHOLE)
        wire.close()
        gone.set()

    with server(script, says(WHOLE)) as target:
        connections = Connections(target)
        asker = Asker(connections, Clients(patience_s=DEADLINE_S), sleep=gevent.sleep)
        assert asker.attempt(SHOT, 0).outcome == "completed"
        assert gone.wait(DEADLINE_S)
        assert asker.attempt(SHOT, 0).outcome == "completed"
        connections.close()
