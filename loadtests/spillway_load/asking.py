"""One intended request, from when it is due to its record: attempts, waits between them, and the answer."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from spillway_load.answer import Answer
from spillway_load.campaign import Clients
from spillway_load.http_stream import Connections, Reply
from spillway_load.plan import PATH, Shot
from spillway_load.record import LEFT, Record
from spillway_wire.outcomes import Outcome

LONGEST_WAIT_S: Final = 120.0
"""OpenAI's clients obey no longer wait."""
_BACKOFF_S: Final = (0.5, 8.0)
"""First and longest wait of a client that was told none."""
_COME_BACK: Final = frozenset({408, 409, 429, 500, 502, 503, 504})

Sleep = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One HTTP request and its answer."""

    reply: Reply
    answer: Answer
    outcome: str


class Asker:
    """Asks on behalf of all clients of one worker."""

    def __init__(self, connections: Connections, clients: Clients, *, sleep: Sleep) -> None:
        self.connections = connections
        self._clients = clients
        self._sleep = sleep
        self.num_pieces = 0
        """Pieces of text that came so far, of all."""

    def pursue(self, shot: Shot, start: float) -> Record:
        """Ask, and ask again as the clients do, until there is an answer or none; `start` is the monotonic clock's."""
        begun = time.monotonic()
        attempt, tried = self.attempt(shot, 0), 1
        while tried <= self._clients.retries and (wait_s := self._wait_s(attempt, tried)) is not None:
            self._sleep(wait_s)
            attempt, tried = self.attempt(shot, tried), tried + 1
        return _record(shot, attempt, tried, begun, start)

    def attempt(self, shot: Shot, retries: int) -> Attempt:
        """Send one HTTP request and follow it to its end."""
        answer, body = Answer(), bytearray()
        leaves_after = shot.leaves_after

        def hear(reply: Reply, piece: bytes, now: float) -> bool:
            if reply.status != 200:
                body.extend(piece)
                return True
            before = len(answer.times)
            answer.feed(piece, now)
            self.num_pieces += len(answer.times) - before
            return leaves_after is None or len(answer.times) < leaves_after

        request = self._request(shot, retries)
        deadline = time.monotonic() + self._clients.patience_s
        slow = self._clients.slow_bytes_per_s if shot.is_slow else None
        reply = self.connections.exchange(request, hear, deadline=deadline, bytes_per_s=slow)
        if reply.is_complete and reply.status != 200:
            answer.refuse(bytes(body))
        if reply.broken:
            return Attempt(reply, answer, reply.broken)
        if not reply.is_complete:
            return Attempt(reply, answer, LEFT)
        return Attempt(reply, answer, reply.headers.get("x-spillway-outcome") or answer.outcome(reply.status))

    def _request(self, shot: Shot, retries: int) -> bytes:
        headers = {"x-stainless-retry-count": str(retries)}
        if shot.key:
            headers["Authorization"] = f"Bearer {shot.key}"
        return self.connections.target.post(PATH, shot.body, headers, keep_alive=self._clients.keep_alive)

    def _wait_s(self, attempt: Attempt, tried: int) -> float | None:
        """Return after how many seconds a client comes back; None: it does not."""
        reply = attempt.reply
        if attempt.answer.times or attempt.outcome in {Outcome.COMPLETED, LEFT}:
            return None
        if not reply.broken and reply.status not in _COME_BACK:
            return None
        if not self._clients.obey:
            return 0.0
        if reply.headers.get("x-should-retry") == "false":
            return None
        told_s = told_to_wait(reply.headers)
        if told_s is not None and told_s > LONGEST_WAIT_S:
            return None
        return min(_BACKOFF_S[0] * 2.0 ** (tried - 1), _BACKOFF_S[1]) if told_s is None else told_s


def told_to_wait(headers: Mapping[str, str]) -> float | None:
    """Return how long a refusal asked to wait, in seconds; None if it did not say."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
    return None


def is_right(answer: Answer, shot: Shot) -> bool:
    """Whether an answer is what was asked for, and its usage and its end say so, too."""
    expected = shot.expected
    return (
        (expected.text is None or answer.text.strip() == expected.text)
        and answer.finish_reason == expected.finish_reason
        and answer.num_tokens == expected.num_tokens
    )


def _record(shot: Shot, attempt: Attempt, attempts: int, begun: float, start: float) -> Record:
    reply, answer = attempt.reply, attempt.answer
    times = [round((moment - start) * 1e6) for moment in answer.times]
    right = attempt.outcome == Outcome.COMPLETED and is_right(answer, shot)
    wrong = attempt.outcome == Outcome.COMPLETED and not right
    server_ms = reply.headers.get("openai-processing-ms", "")
    return Record(
        number=shot.number,
        due_s=shot.due_s,
        begun_s=begun - start,
        sent_s=reply.sent - start,
        first_s=times[0] / 1e6 if times else None,
        ended_s=reply.ended - start,
        gaps_us=[after - before for before, after in pairwise(times)],
        attempts=attempts,
        status=reply.status,
        outcome=attempt.outcome,
        num_tokens=len(times) if answer.num_tokens is None else answer.num_tokens,
        is_right=right,
        is_mistake=False,
        server_ms=int(server_ms) if server_ms.isdigit() and answer.times else None,
        is_slow=shot.is_slow,
        work=shot.work,
        tier=shot.tier,
        tenant=shot.tenant,
        label=shot.label if wrong else "",
        wanted=(shot.expected.text or f"{shot.expected.num_tokens} tokens") if wrong else "",
        got=answer.text if wrong else "",
    )
