"""From the bytes of an answer to its record. Pure; done when the load is over, so that it takes no time from it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from spillway.bench.client import EventReader, Reply
from spillway.bench.overload.callers import Heard
from spillway.bench.overload.plan import Expected, Record, Shot
from spillway.bench.streams import Answer


def read(shot: Shot, attempt: int, due: float, heard: Heard, start: float) -> Record:
    """Return what one try came to; `due`, `heard` and `start` are of one clock."""
    facts: dict[str, Any] = {"problem": heard.problem}
    if heard.reply is not None:
        facts = _of_reply(heard.reply, shot.expected, start)
    if heard.gave_up:
        facts["problem"] = None  # that it has no end is the client's doing
    return Record(
        number=shot.number,
        group=shot.group,
        attempt=attempt,
        due_s=due - start,
        sent_s=heard.sent - start,
        ended_s=heard.ended - start,
        gave_up=heard.gave_up,
        **facts,
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return when to come back, as OpenAI's clients read it: `retry-after-ms` first, then seconds; None: not told."""
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return float(headers[name]) * scale
        except (KeyError, ValueError):
            continue
    return None


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """Return what the server says about coming back at all."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", ""))


def is_exact(answer: Answer, expected: Expected) -> bool:
    """Whether an answer is what was asked for: text, end and usage agree."""
    text = answer.texts.get(0, "")
    return (
        answer.finish_reasons == {0: expected.finish_reason}
        and answer.usage is not None
        and answer.usage["completion_tokens"] == expected.num_tokens
        and (expected.text is None or text.strip() == expected.text)
        and (expected.num_words is None or len(text.split()) == expected.num_words)
        and bool(text)
    )


def _of_reply(reply: Reply, expected: Expected, start: float) -> dict[str, Any]:
    if reply.status != 200:
        error = _error(reply)
        return {
            "status": reply.status,
            "code": _code(error),
            "problem": str(error.get("message", ""))[:300] or None,
            "retry_after_s": retry_after_s(reply.headers),
            "should_retry": should_retry(reply.headers),
        }
    answer, reader = Answer(status=200), EventReader()
    problem: str | None = None
    for piece, arrived in zip(reply.pieces, reply.arrivals, strict=True):
        for data in reader.feed(piece):
            try:
                answer.add(data, arrived)
            except (msgspec.DecodeError, KeyError, AttributeError) as error:
                problem = problem or f"an event makes no sense: {error!r}"
    if answer.error is not None:
        problem = str(answer.error.get("message", answer.error))[:300]
    elif not answer.is_done:
        problem = problem or "it ended without [DONE]"
    usage = answer.usage or {}
    return {
        "status": 200,
        "events_s": [arrived - start for arrived in answer.arrivals],
        "prompt_tokens": usage.get("prompt_tokens", 0),
        "output_tokens": usage.get("completion_tokens", len(answer.arrivals)),
        "is_done": answer.is_success and problem is None and reply.ended is not None,
        "is_exact": is_exact(answer, expected),
        "code": None if answer.error is None else _code(answer.error),
        "problem": problem,
    }


def _code(error: Mapping[str, Any]) -> str | None:
    """Return what an error is called; some servers repeat the status there, as a number."""
    code = error.get("code") or error.get("type")
    return None if code is None else str(code)


def _error(reply: Reply) -> dict[str, Any]:
    """Return the error object of a body in OpenAI's form; whatever else it is becomes the message."""
    try:
        body = reply.json()
    except msgspec.DecodeError:
        return {"message": reply.body.decode(errors="replace")}
    error = body.get("error", body) if isinstance(body, dict) else body
    return error if isinstance(error, dict) else {"message": str(error)}
