"""Requests of all kinds that a client can measure, and what it saw of each: pure, read when the load is over."""

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from spillway.bench.client import EventReader, Reply, post
from spillway.bench.streams import DONE, Count
from spillway_wire.outcomes import Outcome

Fields = dict[str, Any]
CHAT: Final = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request."""

    name: str
    path: str
    fields: Callable[[Count, int], Fields]
    """The body, from what is counted and the request's number."""
    counts: bool = False
    """Whether the answer is the whole count, so that its tokens can be counted by the client itself."""


def _chat(count: Count, _: int) -> Fields:
    return count.fields()


def _choices(count: Count, number: int) -> Fields:
    return count.fields() | {"temperature": 0.8, "n": 3, "seed": number, "max_tokens": 24, "logprobs": True}


def _stopped(count: Count, _: int) -> Fields:
    return count.fields() | {"stop": ["7 ", "nothing"]}


def _completion(count: Count, number: int) -> Fields:
    return {"model": "demo", "prompt": count.prompt, "max_tokens": 12, "seed": number}


def _generate(count: Count, _: int) -> Fields:
    return {"prompt": count.prompt, "temperature": 0}


def _batch(count: Count, _: int) -> Fields:
    return {"prompts": [count.prompt, f"Spell {count.first}", "Hello"], "temperature": 0, "max_tokens": 40}


def _streamed(fields: Callable[[Count, int], Fields]) -> Callable[[Count, int], Fields]:
    return lambda count, number: fields(count, number) | {"stream": True, "stream_options": {"include_usage": True}}


KINDS: Final = (
    Kind("chat", CHAT, _chat, counts=True),
    Kind("chat, streamed", CHAT, _streamed(_chat), counts=True),
    Kind("chat, streamed, long", CHAT, _streamed(_chat), counts=True),
    Kind("chat, n=3, logprobs", CHAT, _choices),
    Kind("chat, n=3, streamed", CHAT, _streamed(_choices)),
    Kind("chat, streamed, stop strings", CHAT, _streamed(_stopped)),
    Kind("completion", "/v1/completions", _completion),
    Kind("completion, streamed", "/v1/completions", _streamed(_completion)),
    Kind("generate", "/generate", _generate, counts=True),
    Kind("generate, streamed", "/generate", _streamed(_generate), counts=True),
    Kind("batch", "/generate_batch", _batch),
    Kind("invalid", CHAT, lambda count, _: count.fields() | {"temperature": 9}),
    Kind("unknown model", CHAT, lambda count, _: count.fields() | {"model": "nobody"}),
    Kind("too long", "/generate", lambda count, _: {"prompt": count.prompt + " and on" * 5000}),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """One request on its way."""

    kind: Kind
    count: Count
    trace_id: str
    """32 hexadecimal digits, told in `traceparent`: so the client knows it even of a request that it leaves."""
    message: bytes

    @classmethod
    def draw(cls, randomness: random.Random, kind: Kind, number: int) -> "Sent":
        """Make one."""
        count = Count.draw(
            randomness, randomness.randint(60, 200) if "long" in kind.name else randomness.randint(8, 40)
        )
        trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
        headers = {"traceparent": f"00-{trace_id}-{span_id}-01"}
        return cls(kind, count, trace_id, post(kind.path, kind.fields(count, number), headers=headers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a client saw of one request. Seconds, by its own stopwatch."""

    trace_id: str
    kind: str
    left: bool
    """The client closed the connection before the end."""
    status: int = 0
    outcome: Outcome | None = None
    """What the answer says that became of it; None: the client cannot know."""
    first_s: float | None = None
    """From sending to the first byte of the first event with text; streams alone."""
    first_at: float | None = None
    """When that was, by the client's clock: CLOCK_MONOTONIC, the same as the gateway's on one machine."""
    whole_s: float | None = None
    """From sending to the last byte."""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    """As the answer's `usage` says."""
    counted_tokens: int | None = None
    """As the client counts them: token ids, or the numbers of a count and the token that ends it."""
    text: str = ""


def seen_of(sent: Sent, reply: Reply, *, left: bool) -> Seen:
    """Read what came."""
    if left or reply.ended is None:
        return Seen(trace_id=sent.trace_id, kind=sent.kind.name, left=left, status=reply.status)
    events = _events(reply)
    bodies = [msgspec.json.decode(data) for _, data in events if data != DONE]
    usage: dict[str, Any] = next((body["usage"] for body in reversed(bodies) if body.get("usage")), {})
    whole = reply.status == 200 and (not _is_stream(reply) or (bool(events) and events[-1][1] == DONE))
    text = "".join(_text(body) for body in bodies)
    first = next((at for at, data in events if data != DONE and _has_text(msgspec.json.decode(data))), None)
    return Seen(
        trace_id=sent.trace_id,
        kind=sent.kind.name,
        left=False,
        status=reply.status,
        outcome=_outcome(bodies, whole=whole),
        first_s=first - reply.sent if first is not None and _is_stream(reply) else None,
        first_at=first if _is_stream(reply) else None,
        whole_s=reply.ended - reply.sent,
        prompt_tokens=usage.get("prompt_tokens"),
        output_tokens=usage.get("completion_tokens"),
        counted_tokens=_counted(sent.kind, bodies, text),
        text=text,
    )


def _is_stream(reply: Reply) -> bool:
    return reply.headers.get("content-type", "").startswith("text/event-stream")


def _events(reply: Reply) -> list[tuple[float, bytes]]:
    """Return the JSON documents of an answer, each with when it was there."""
    if not _is_stream(reply):
        return [(reply.arrivals[-1], reply.body)] if reply.body else []
    reader = EventReader()
    return [
        (arrived, data)
        for piece, arrived in zip(reply.pieces, reply.arrivals, strict=True)
        for data in reader.feed(piece)
    ]


def _outcome(bodies: list[Any], *, whole: bool) -> Outcome | None:
    error = next((body["error"] for body in bodies if body.get("error")), None)
    if error is not None:
        said = error.get("spillway", {}).get("outcome")
        return None if said is None else Outcome(said)
    return Outcome.COMPLETED if whole else None


def _has_text(body: Any) -> bool:
    return bool(_text(body) or any(output.get("token_ids") for output in body.get("outputs", ())))


def _text(body: Any) -> str:
    said = [choice.get("text") or _message(choice).get("content") or "" for choice in body.get("choices", ())]
    return "".join([*said, *(output["text"] for output in body.get("outputs", ())), body.get("text") or ""])


def _message(choice: Any) -> Any:
    return choice.get("delta") or choice.get("message") or {}


def _counted(kind: Kind, bodies: list[Any], text: str) -> int | None:
    ids = [output["token_ids"] for body in bodies for output in body.get("outputs", ()) if "token_ids" in output]
    if ids:
        return sum(map(len, ids))
    if not kind.counts or not text:
        return None
    parts = [*bodies, *(part for body in bodies for key in ("choices", "outputs") for part in body.get(key, ()))]
    return len(text.split()) + any(part.get("finish_reason") == "stop" for part in parts)
