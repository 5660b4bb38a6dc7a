"""Requests of all kinds, a tenth of them leaving at a random moment: `python -m spillway.bench mixed`.

What it looks for is what is left: blocks, open requests, connections, memory, and an arrival without an outcome.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop

from spillway.bench.books import Books, is_idle, read_books
from spillway.bench.client import Connection, Reply, get, post
from spillway.bench.figures import print_promises, print_table, write_json
from spillway.bench.served import Served
from spillway.bench.streams import Count

LEAVING: Final = 0.1
IN_FLIGHT: Final = 48
NUM_COUNTS: Final = 64
GROWTH_MB: Final = 12.0
"""Allowed between the first third and the end: what an allocator keeps of its busiest moment."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request."""

    name: str
    make: Callable[[Count, int], bytes]
    is_right: Callable[[Reply, Count], bool]
    is_arrival: bool = True
    """Whether it asks a model, and so counts as an arrival."""


def _post(path: str, **fixed: Any) -> Callable[[Count, int], bytes]:
    def make(count: Count, number: int) -> bytes:
        body = {key: value(count, number) if callable(value) else value for key, value in fixed.items()}
        return post(path, body)

    return make


def _messages(count: Count, _: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": count.prompt}]


def _prompt(count: Count, _: int) -> str:
    return count.prompt


def _seed(_: Count, number: int) -> int:
    return number


def _holds(text: str | None = None, *, status: int = 200, end: bytes = b"") -> Callable[[Reply, Count], bool]:
    """Judge by status, by how the body ends and by a text in it; `answer` stands for what was counted."""

    def is_right(reply: Reply, count: Count) -> bool:
        wanted = (count.answer if text == "answer" else text or "").encode()
        return reply.status == status and reply.body.endswith(end) and wanted in reply.body

    return is_right


_DONE: Final = b"data: [DONE]\n\n"
CHAT: Final = "/v1/chat/completions"
KINDS: Final = (
    Kind("chat", _post(CHAT, model="demo", messages=_messages, temperature=0), _holds("answer")),
    Kind(
        "chat, streamed", _post(CHAT, model="demo", messages=_messages, temperature=0, stream=True), _holds(end=_DONE)
    ),
    Kind(
        "chat, n=3, logprobs",
        _post(CHAT, model="demo", messages=_messages, n=3, seed=_seed, logprobs=True, top_logprobs=2, max_tokens=24),
        _holds('"top_logprobs":'),
    ),
    Kind(
        "chat, streamed, stop strings",
        _post(CHAT, model="demo", messages=_messages, temperature=0, stream=True, stop=["7 ", "nothing"]),
        _holds('"finish_reason":"stop"', end=_DONE),
    ),
    Kind(
        "completion",
        _post("/v1/completions", model="demo", prompt=_prompt, max_tokens=12, seed=_seed),
        _holds("text_completion"),
    ),
    Kind(
        "completion, streamed",
        _post("/v1/completions", model="demo", prompt=_prompt, max_tokens=12, seed=_seed, stream=True),
        _holds(end=_DONE),
    ),
    Kind("generate", _post("/generate", prompt=_prompt, temperature=0), _holds("answer")),
    Kind("generate, streamed", _post("/generate", prompt=_prompt, temperature=0, stream=True), _holds('"text"')),
    Kind("batch", _post("/generate_batch", prompts=lambda c, _: [c.prompt] * 3, temperature=0), _holds("answer")),
    Kind("tokenize", _post("/tokenize", prompt=_prompt), _holds('"count":'), is_arrival=False),
    Kind("models", lambda _count, _number: get("/v1/models"), _holds('"demo"'), is_arrival=False),
    Kind("invalid", _post(CHAT, model="demo", messages=_messages, temperature=9), _holds("temperature", status=400)),
    Kind("unknown model", _post(CHAT, model="nobody", messages=_messages), _holds("model_not_found", status=404)),
    Kind(
        "too long",
        _post("/generate", prompt=lambda c, _: c.prompt + " and on" * 5000),
        _holds("context_length_exceeded", status=400),
    ),
)


@dataclass(slots=True)
class Seen:
    """What all requests together saw."""

    sent: Counter[str] = field(default_factory=Counter)
    left: int = 0
    arrivals_left: int = 0
    """Of those that left, how many asked a model; the gateway may not have read some of them."""
    arrivals: int = 0
    wrong: list[str] = field(default_factory=list)


class Mixture:
    """Sends the mixture to one instance."""

    def __init__(self, served: Served, seed: int) -> None:
        self._served = served
        self._randomness = random.Random(seed)
        self._counts: list[Count] = []
        self.seen = Seen()

    async def choose(self) -> None:
        """Find ranges that the model counts right: it is in 995 of 1000, and this is no test of a model."""
        connection = await self._served.connect()
        while len(self._counts) < NUM_COUNTS:
            count = Count.draw(self._randomness, self._randomness.randint(8, 40))
            reply = await connection.exchange(post("/generate", {"prompt": count.prompt, "temperature": 0}))
            self.seen.arrivals += 1
            if reply.status != 200:
                raise RuntimeError(f"{count.prompt!r} was answered with {reply.status}: {reply.body.decode()}")
            if reply.json()["outputs"][0]["text"].strip() == count.answer:
                self._counts.append(count)
        connection.close()

    async def send(self, num_requests: int) -> None:
        """Send so many, `IN_FLIGHT` at a time."""
        numbers = iter(range(num_requests))

        async def one_after_another() -> None:
            connection: Connection | None = None
            for number in numbers:
                if connection is None or not connection.is_open:
                    connection = await self._served.connect()
                await self._one(connection, number)
            if connection is not None:
                connection.close()

        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(one_after_another())

    async def _one(self, connection: Connection, number: int) -> None:
        kind = self._randomness.choice(KINDS)
        count = self._randomness.choice(self._counts)
        leaves = self._randomness.random() < LEAVING
        self.seen.sent[kind.name] += 1
        self.seen.arrivals += kind.is_arrival
        exchange = asyncio.ensure_future(connection.exchange(kind.make(count, number)))
        if leaves:
            await asyncio.wait((exchange,), timeout=self._randomness.expovariate(1 / 0.02))
            self.seen.left += 1
            self.seen.arrivals_left += kind.is_arrival
            connection.close()
            await exchange
            return
        reply = await exchange
        if reply.ended is None or not kind.is_right(reply, count):
            self.seen.wrong.append(f"{kind.name}, {count}: {reply.status} {reply.body[-300:].decode(errors='replace')}")


async def run(served: Served, mixture: Mixture, num_requests: int) -> tuple[Books, Books, dict[str, int]]:
    """Send a third, look, send the rest, look again; return both looks and what the gateways counted."""
    await served.until(is_idle)
    await mixture.choose()
    await mixture.send(num_requests // 3)
    await served.until(is_idle)
    before = await read_books(served)
    await mixture.send(num_requests - num_requests // 3)
    pool = await served.until(is_idle)
    counters: Counter[str] = Counter()
    for gateway in pool["gateways"]:
        counters.update(gateway["counters"])
    return before, await read_books(served), dict(counters)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the mixture, print, and return 1 if anything is left over."""
    parser = argparse.ArgumentParser(prog="python -m spillway.bench mixed", description=__doc__)
    parser.add_argument("--requests", type=int, default=24_000)
    parser.add_argument("--gateways", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write what was found as JSON")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="spillway-mixed-") as folder:
        served = Served.start("--gateways", str(given.gateways), folder=Path(folder))
        try:
            mixture = Mixture(served, given.seed)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                before, after, counters = runner.run(run(served, mixture, given.requests))
        finally:
            served.end()
    return _report(mixture.seen, before, after, counters, given.out)


def _report(seen: Seen, before: Books, after: Books, counters: Mapping[str, int], out: Path | None) -> int:
    print_table("Sent", [{"kind": kind, "requests": count} for kind, count in seen.sent.most_common()])
    outcomes = {name: count for name, count in counters.items() if name.startswith("outcome_") and count}
    print_table("Outcomes", [{"outcome": name[8:], "requests": count} for name, count in outcomes.items()])
    growth = {id_: after.resident_mb[id_] - before.resident_mb.get(id_, 0.0) for id_ in after.resident_mb}
    print_table("Resident memory, MB", [{"process": id_, "grew by": grown} for id_, grown in growth.items()])
    for wrong in seen.wrong[:5]:
        sys.stdout.write(f"  {wrong}\n")
    arrivals, owed = counters["arrivals"], after.owed(before)
    promises = {
        f"every answer right ({len(seen.wrong)} were not; {seen.left} requests left)": not seen.wrong,
        "every arrival has exactly one outcome": arrivals == sum(outcomes.values()),
        "every request that stayed was counted": seen.arrivals - seen.arrivals_left <= arrivals <= seen.arrivals,
        f"nothing is left over ({owed})": not owed,
        f"no process grew by more than {GROWTH_MB:g} MB": max(growth.values()) <= GROWTH_MB,
    }
    write_json(out, {"sent": seen.sent, "outcomes": outcomes, "growth_mb": growth, "promises": promises})
    return 0 if print_promises(promises) else 1


if __name__ == "__main__":
    sys.exit(main())
