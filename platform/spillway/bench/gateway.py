"""What one gateway process costs, on one core: `python -m spillway.bench gateway`.

The gateway has a core to itself; the load, and an engine that knows every token beforehand, share another. First a
closed loop finds how many whole answers and how many streamed tokens go through in a second. Then an open loop sends
half of what is promised, and the same requests go to the engine directly, at the same rate: the difference is the
gateway's. How long it had to wait for its core because others used it is told, too: latencies are theirs as well then.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from spillway.bench.bare_gateway import MODEL, BareGateway, bare_gateway
from spillway.bench.client import Reply, post
from spillway.bench.direct import DirectClient
from spillway.bench.figures import Spread, print_promises, print_table, write_json
from spillway.bench.load import Run, Web, closed_loop, open_loop
from spillway_text.folders import resolve_model
from spillway_text.text import ModelText
from spillway_wire.messages import Submit
from spillway_wire.sampling import SamplingParams

REQUESTS_PER_S: Final = 1500.0
STREAMED_TOKENS_PER_S: Final = 20_000.0
ADDED_P50_MS: Final = 1.5
ADDED_P99_MS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of request."""

    name: str
    stream: bool
    max_tokens: int
    in_flight: int
    """In the closed loop."""
    per_second: float
    """In the open loop."""
    step_s: float = 0.0
    """How long a step of the engine takes."""

    def messages(self) -> list[list[dict[str, str]]]:
        """Return the conversations that are asked about."""
        return [[{"role": "user", "content": f"Hello number {number}, how are you?"}] for number in range(64)]

    def web_requests(self) -> list[bytes]:
        """Return the requests as a client sends them."""
        fields: dict[str, Any] = {"model": MODEL, "max_tokens": self.max_tokens, "temperature": 0.0}
        if self.stream:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        return [post("/v1/chat/completions", fields | {"messages": messages}) for messages in self.messages()]

    def direct_requests(self, text: ModelText) -> list[bytes]:
        """Return the same requests as a gateway sends them."""
        params = SamplingParams(max_tokens=self.max_tokens, temperature=0.0)
        return [
            msgspec.msgpack.encode(Submit(request_id="", prompt_token_ids=text.encode_chat(messages), params=params))
            for messages in self.messages()
        ]

    def is_right(self, reply: Reply) -> bool:
        """Whether an answer is whole: all tokens counted, and a stream with its proper end."""
        whole = reply.status == 200 and b'"completion_tokens":%d' % self.max_tokens in reply.body
        return whole and (not self.stream or reply.body.endswith(b"data: [DONE]\n\n"))


WHOLE = Case("whole answers", stream=False, max_tokens=16, in_flight=64, per_second=REQUESTS_PER_S / 2)
STREAMED = Case("streams", stream=True, max_tokens=128, in_flight=64, per_second=STREAMED_TOKENS_PER_S / 2 / 128)
PACED = replace(STREAMED, name="streams, 8 ms a step", in_flight=256, step_s=0.008)
"""Tokens come one by one: as long as the gateway keeps up, each is an event of its own."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found for one case."""

    case: Case
    most: Run
    half: Run
    direct: Run
    robbed: float
    """Share of the run at half load in which the gateway could have run, but something else used its core."""

    @property
    def tokens_per_s(self) -> float:
        """Output tokens that went through."""
        return self.most.per_second * self.case.max_tokens

    def latencies(self) -> dict[str, tuple[Spread, Spread]]:
        """Return (through the gateway, direct) for the whole answer and for its first byte or token."""
        return {
            what: (
                Spread.of([getattr(timing, what) for timing in self.half.timings]),
                Spread.of([getattr(timing, what) for timing in self.direct.timings]),
            )
            for what in ("first", "whole")
        }

    @property
    def added(self) -> tuple[float, float]:
        """Milliseconds added, p50 and p99: to a whole answer, or to a stream's first token."""
        through, direct = self.latencies()["first" if self.case.stream else "whole"]
        return through.p50 - direct.p50, through.p99 - direct.p99


async def measure(case: Case, under_test: BareGateway, *, seconds: float) -> Measured:
    """Measure one case."""
    web = Web(under_test.host, under_test.port, case.is_right)
    requests = case.web_requests()
    direct = await DirectClient.open(under_test.engine_address)
    direct_requests = case.direct_requests(ModelText(resolve_model(MODEL)))
    try:
        await closed_loop(web.send, requests, in_flight=case.in_flight, seconds=min(1.0, seconds))  # warm
        most = await closed_loop(web.send, requests, in_flight=case.in_flight, seconds=seconds)
        waited_ns = _waited_ns(under_test.gateway_pid)
        half = await open_loop(web.send, requests, rate=case.per_second, seconds=seconds)
        robbed = (_waited_ns(under_test.gateway_pid) - waited_ns) / 1e9 / half.seconds
        alone = await open_loop(direct.send, direct_requests, rate=case.per_second, seconds=seconds)
        return Measured(case, most, half, alone, robbed)
    finally:
        web.close()
        direct.close()


def _waited_ns(pid: int) -> int:
    """How long a process has waited for a core in all, by the kernel's books; 0 where it keeps none."""
    file = Path(f"/proc/{pid}/schedstat")
    return int(file.read_text(encoding="ascii").split()[1]) if file.exists() else 0


async def run(cases: Sequence[Case], seconds: float) -> list[Measured]:
    """Measure each case with a gateway of its own."""
    cores = sorted(os.sched_getaffinity(0))
    gateway_cores, other_cores = {cores[0]}, set(cores[1:2]) or {cores[0]}
    try:
        measured = []
        for case in cases:
            async with bare_gateway(
                gateway_cores=gateway_cores, other_cores=other_cores, step_s=case.step_s
            ) as under_test:
                measured.append(await measure(case, under_test, seconds=seconds))
        return measured
    finally:
        os.sched_setaffinity(0, cores)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m spillway.bench gateway", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each of the nine measurements")
    parser.add_argument("--out", type=Path, help="write what was found as JSON")
    given = parser.parse_args(arguments)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        every = runner.run(run((WHOLE, STREAMED, PACED), given.seconds))
    whole, streamed, _ = every
    _print(every)
    promises = {
        f"at least {REQUESTS_PER_S:,.0f} requests a second": whole.most.per_second >= REQUESTS_PER_S,
        f"at least {STREAMED_TOKENS_PER_S:,.0f} streamed tokens a second": (
            streamed.tokens_per_s >= STREAMED_TOKENS_PER_S
        ),
        "every answer right": not sum(run.wrong for case in every for run in (case.most, case.half)),
    }
    for case in (whole, streamed):  # what the paced engine takes until its next step says nothing of the gateway
        p50, p99 = case.added
        promises[f"{case.case.name}: at most {ADDED_P50_MS} ms added at p50"] = p50 <= ADDED_P50_MS
        promises[f"{case.case.name}: at most {ADDED_P99_MS} ms added at p99"] = p99 <= ADDED_P99_MS
    write_json(given.out, {"gateway": [_facts(case) for case in every], "promises": promises})
    return 0 if print_promises(promises) else 1


def _print(cases: Sequence[Measured]) -> None:
    print_table(
        "One gateway process, one core",
        [
            {
                "case": measured.case.name,
                "tokens each": measured.case.max_tokens,
                "requests/s": measured.most.per_second,
                "tokens/s": measured.tokens_per_s,
                "events each": measured.most.events_each,
                "wrong": measured.most.wrong + measured.half.wrong,
                "robbed of its core, %": 100 * measured.robbed,
            }
            for measured in cases
        ],
    )
    print_table(
        f"Latency at {WHOLE.per_second:g} whole answers and {STREAMED.per_second:g} streams a second, ms",
        [
            {
                "case": measured.case.name, "of": what,
                "p50": through.p50, "direct p50": direct.p50, "added p50": through.p50 - direct.p50,
                "p99": through.p99, "direct p99": direct.p99, "added p99": through.p99 - direct.p99,
            }
            for measured in cases
            for what, (through, direct) in measured.latencies().items()
        ],
    )  # fmt: skip


def _facts(measured: Measured) -> dict[str, Any]:
    return {
        "case": measured.case.name,
        "requests_per_s": measured.most.per_second,
        "tokens_per_s": measured.tokens_per_s,
        "events_each": measured.most.events_each,
        "added_ms": dict(zip(("p50", "p99"), measured.added, strict=True)),
        "latency_ms": msgspec.to_builtins(measured.latencies()),
        "wrong": measured.most.wrong + measured.half.wrong,
        "robbed_share": measured.robbed,
    }


if __name__ == "__main__":
    sys.exit(main())
