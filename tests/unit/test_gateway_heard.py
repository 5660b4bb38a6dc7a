"""When a request came is when its bytes came, not when somebody read them."""

import select
import socket
import time

from spillway.gateway.heard import waited_s


def test_data_that_nobody_reads_has_waited_since_it_came() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.sendall(b"GET / HTTP/1.1")
        before = time.monotonic()
        while time.monotonic() < before + 0.1:
            pass  # the server is busy, and has not even accepted
        connection, _ = server.accept()
        with connection:
            select.select([connection], [], [])
            least, waited = time.monotonic() - before, waited_s(connection)
            assert waited >= 0.08
            assert waited <= time.monotonic() - before + 0.02
            assert least >= 0.1


def test_what_just_came_has_not_waited_and_other_sockets_know_nothing() -> None:
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b"x")
        assert waited_s(here) == 0.0
    assert waited_s(None) == 0.0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as no_stream:
        assert waited_s(no_stream) == 0.0
