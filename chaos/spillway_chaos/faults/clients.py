"""Clients that misbehave: they hang up all at once, do not read, send poison, or come back however often refused."""

import contextlib
import json
import socket
import struct
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from spillway_chaos.errors import FaultError
from spillway_chaos.faults.load import begin
from spillway_chaos.stage.stage import Stage, current

_NO_LINGER: Final = struct.pack("ii", 1, 0)
_MANY: Final = 1800
"""Tokens: nearly as many as the demo model's context holds."""
_SMALL: Final = 4096
"""Bytes that a client that does not read lets the kernel hold for it."""
_FIRST_WITHIN_S: Final = 20.0
_STATUS_BYTES: Final = 15


def disconnect_storm(clients: int = 32) -> dict[str, Any]:
    """Have clients ask for long answers, and reset all their connections at once when each has its first bytes."""
    stage = current()
    stage.notes["struck_before"] = stage.scrape()
    connections = _ask(stage, clients, receive_buffer=None)
    for connection in connections:
        connection.settimeout(_FIRST_WITHIN_S)
        said = connection.recv(_STATUS_BYTES)
        if b" 200 " not in said:
            raise FaultError(f"a client that was to hang up was answered with {said!r}")
    stage.strike("disconnect storm", "client", "storm")
    for connection in connections:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        connection.close()
    return {"clients": clients}


def stall_readers(clients: int = 8) -> dict[str, Any]:
    """Have clients ask for very long answers and read nothing of them; `end_stall` lets them go."""
    stage = current()
    stage.notes["struck_before"] = stage.scrape()
    stage.strike("stalled readers", "client", "stalled")
    connections = _ask(stage, clients, receive_buffer=_SMALL)

    def stop() -> None:
        for connection in connections:
            connection.close()

    stage.notes.setdefault("stop", []).append(stop)
    stage.notes["stalled"] = connections
    return {"clients": clients}


def end_stall() -> None:
    """Let the clients go that `stall_readers` made. Idempotent."""
    for stop in current().notes.pop("stop", []):
        stop()


def send_pills(tokens: int, times: int = 3, timeout_s: float = 40.0) -> dict[str, Any]:
    """Ask, one after another, for exactly as many tokens as engines are armed to die of; return how each ended."""
    stage = current()
    stage.notes["struck_before"] = stage.scrape()
    stage.strike("poison", "client", "poison")
    for place in stage.instance.pool()["engines"]:  # it kills whichever engines it runs on
        stage.blast.claim("engine", place["id"])
    ends: list[str] = []
    for _ in range(times):
        try:
            answer = httpx.post(
                f"{stage.instance.api}/v1/chat/completions",
                json={"model": "demo", "messages": _count(1, 90), "max_tokens": tokens, "temperature": 0},
                timeout=timeout_s,
                headers=stage.instance.credentials,
                trust_env=False,
            )
            ends.append(f"{answer.status_code}" if answer.is_success else _code(answer))
        except httpx.HTTPError as error:
            ends.append(type(error).__name__)
        if stage.aborted.is_set():
            break
    stage.notes["pills"] = ends
    return {"ends": ends}


def ask_more(campaign: str, rate: float, duration_s: float) -> dict[str, Any]:
    """Add a second load, and wait until it is over; return its fates."""
    stage = current()
    stage.notes["struck_before"] = stage.scrape()
    stage.blast.claim("client", campaign)
    load = begin(stage, campaign, campaign, rate, duration_s)
    stage.strike(campaign, "client", campaign)  # now it begins; before, it was only being made ready
    result = load.finish()
    stage.notes["more"] = result
    return {"fates": result.fates}


def _ask(stage: Stage, clients: int, *, receive_buffer: int | None) -> Sequence[socket.socket]:
    """Open connections, each with a request for a stream that does not end soon."""
    url = urlsplit(stage.instance.api)
    connections = []
    for number in range(clients):
        asked: dict[str, Any] = {
            "model": "demo",
            "messages": _count(1 + number, 99 + number),
            "stream": True,
            "max_tokens": _MANY,
            "ignore_eos": True,
            "temperature": 0,
        }
        if receive_buffer is not None:  # so that there is much to read
            asked |= {"logprobs": True, "top_logprobs": 20}
        body = json.dumps(asked).encode()
        connection = socket.socket()
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.connect((url.hostname or "127.0.0.1", url.port or 80))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {url.netloc}\r\ncontent-type: application/json\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in stage.instance.credentials.items())
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        connections.append(connection)
    return connections


def _count(first: int, last: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Count from {first} to {last}"}]


def _code(answer: httpx.Response) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        error = answer.json()["error"]
        return f"{answer.status_code} {error.get('code') or error.get('type')}"
    return str(answer.status_code)
