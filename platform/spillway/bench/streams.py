"""Chat requests whose answers can be checked, and all that a stream of one has told."""

import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from spillway.bench.client import Connection, EventReader, post

DONE: Final = b"[DONE]"


@dataclass(frozen=True, slots=True)
class Count:
    """The demo model's art: it counts, one token for each number, so that one lost, doubled or changed is seen."""

    first: int
    last: int

    @classmethod
    def draw(cls, randomness: random.Random, length: int = 64) -> "Count":
        """Draw a range of `length` numbers."""
        first = randomness.randint(1, 999 - length)
        return cls(first, first + length - 1)

    @property
    def prompt(self) -> str:
        """What to ask."""
        return f"Count from {self.first} to {self.last}"

    @property
    def answer(self) -> str:
        """What to expect."""
        return " ".join(map(str, range(self.first, self.last + 1)))

    @property
    def num_tokens(self) -> int:
        """What the answer's usage should say: the numbers, and the token that ends them."""
        return self.last - self.first + 2

    def fields(self) -> dict[str, Any]:
        """Return the body of a chat request."""
        return {
            "model": "demo",
            "messages": [{"role": "user", "content": self.prompt}],
            "temperature": 0.0,
            "max_tokens": self.last - self.first + 16,
        }


@dataclass(slots=True)
class Answer:
    """What one streamed request came to."""

    status: int = 0
    texts: dict[int, str] = field(default_factory=lambda: defaultdict(str))
    """By choice."""
    logprobs: dict[int, list[Any]] = field(default_factory=lambda: defaultdict(list))
    finish_reasons: dict[int, str] = field(default_factory=dict)
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    """The error that ended it, in the body or as an event."""
    is_done: bool = False
    """It ended with `[DONE]`, as a success does."""
    arrivals: list[float] = field(default_factory=list)
    """When text came, in seconds of the client's clock; the first entry is when the request was sent."""

    @property
    def is_success(self) -> bool:
        """Whether a client would take it for one."""
        return self.status == 200 and self.is_done and self.error is None

    @property
    def longest_pause(self) -> float:
        """Seconds between two pieces of text, or before the first."""
        return max(after - before for before, after in zip(self.arrivals, self.arrivals[1:], strict=False))

    def said(self) -> dict[str, Any]:
        """Return all that must be equal in an undisturbed run."""
        usage = {key: value for key, value in (self.usage or {}).items() if isinstance(value, int)}
        return {
            "texts": dict(self.texts),
            "logprobs": dict(self.logprobs),
            "finish_reasons": self.finish_reasons,
            "usage": usage,
        }

    def add(self, data: bytes, now: float) -> str:
        """Take in an event and return its text."""
        if data == DONE:
            self.is_done = True
            return ""
        added = ""
        event = msgspec.json.decode(data)
        self.error = event.get("error", self.error)
        self.usage = event.get("usage") or self.usage
        for choice in event.get("choices", ()):
            index = choice["index"]
            text = choice.get("delta", choice).get("content" if "delta" in choice else "text")
            if text:
                added += text
                self.texts[index] += text
                self.arrivals.append(now)
            if choice.get("logprobs"):
                self.logprobs[index] += choice["logprobs"].get("content") or [choice["logprobs"]]
            if choice.get("finish_reason"):
                self.finish_reasons[index] = choice["finish_reason"]
        return added


async def stream(
    connection: Connection,
    fields: Mapping[str, Any],
    *,
    path: str = "/v1/chat/completions",
    headers: Mapping[str, str] | None = None,
    on_text: Callable[[str], object] = lambda _: None,
) -> Answer:
    """Send a request as a stream and follow it to its end, whatever that is; `on_text` hears what comes."""
    answer, reader = Answer(), EventReader()

    def take(piece: bytes) -> None:
        for data in reader.feed(piece):
            text = answer.add(data, time.perf_counter())
            if text:
                on_text(text)

    body = {**fields, "stream": True, "stream_options": {"include_usage": True}}
    answer.arrivals.append(time.perf_counter())
    reply = await connection.exchange(post(path, body, headers=headers), on_piece=take)
    answer.status = reply.status
    if reply.status != 200 and reply.body:
        answer.error = reply.json()["error"]
    return answer


def is_exact(answer: Answer, count: Count) -> bool:
    """Whether a stream counted as it was asked to, and its usage and its end say so, too."""
    return (
        answer.is_success
        and answer.texts[0].strip() == count.answer
        and answer.finish_reasons == {0: "stop"}
        and answer.usage is not None
        and answer.usage["completion_tokens"] == count.num_tokens
    )
