"""What one gateway process costs, on one core: `python -m spillway.bench gateway`.

The gateway has a core to itself; the load, and an engine that knows every token beforehand, share another. First a
closed loop finds how many whole answers and how many streamed tokens go through in a second. Then an open loop sends
half of what is promised, and the same requests go to the engine directly, at the same rate, in turns (`rounds`): the
difference is the gateway's. While latencies are taken the load generator runs before the engine on the core that they
share (`precedence`), both ways alike, and the gateway is scheduled like any process. How long it had to wait for its
core because others used it is told, too: latencies are theirs as well then, and such rounds are taken again.
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
from spillway.bench.figures import print_promises, print_table, write_json
from spillway.bench.load import Run, Web, closed_loop, open_loop
from spillway.bench.precedence import generator_first
from spillway.bench.rounds import Compared, Round, What, compare, counted, is_enough
from spillway_text.folders import resolve_model
from spillway_text.text import ModelText
from spillway_wire.messages import Submit
from spillway_wire.sampling import SamplingParams

REQUESTS_PER_S: Final = 1500.0
STREAMED_TOKENS_PER_S: Final = 20_000.0
ADDED_P50_MS: Final = 1.5
ADDED_P99_MS: Final = 5.0
SHORTEST_TURN_S: Final = 0.5
"""A quantile of fewer requests than come in that time says little."""


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
    taken: tuple[Round, ...]
    num_rounds: int
    """As many undisturbed ones were wanted."""
    scheduling: str

    @property
    def rounds(self) -> tuple[Round, ...]:
        """Those that latencies are told from."""
        return counted(self.taken, self.num_rounds)

    @property
    def robbed(self) -> float:
        """Of the rounds that count, on average."""
        return sum(each.robbed for each in self.rounds) / len(self.rounds)

    @property
    def tokens_per_s(self) -> float:
        """Output tokens that went through."""
        return self.most.per_second * self.case.max_tokens

    @property
    def wrong(self) -> int:
        """Answers through the gateway that were not what they should have been."""
        return self.most.wrong + sum(each.through.wrong for each in self.taken)

    @property
    def refused(self) -> int:
        """Answers through the gateway that said that there is too much to do."""
        return self.most.refused + sum(each.through.refused for each in self.taken)

    def latencies(self) -> dict[What, Compared]:
        """Return what the gateway adds to the whole answer and to its first byte or token."""
        return {"first": compare(self.rounds, "first"), "whole": compare(self.rounds, "whole")}

    @property
    def promised(self) -> Compared:
        """The latency that is promised: of a whole answer, or of a stream's first token."""
        return compare(self.rounds, "first" if self.case.stream else "whole")


async def measure(case: Case, under_test: BareGateway, *, seconds: float, num_rounds: int) -> Measured:
    """Measure one case: `seconds` of each kind of run, latencies in `num_rounds` turns, or more on a busy machine."""
    web = Web(under_test.host, under_test.port, case.is_right)
    requests = case.web_requests()
    direct = await DirectClient.open(under_test.engine_address)
    direct_requests = case.direct_requests(ModelText(resolve_model(MODEL)))
    turn_s = seconds / num_rounds
    rounds: list[Round] = []
    try:
        await closed_loop(web.send, requests, in_flight=case.in_flight, seconds=min(1.0, seconds))  # warm
        most = await closed_loop(web.send, requests, in_flight=case.in_flight, seconds=seconds)
        with generator_first(under_test.engine_pid) as scheduling:
            while not is_enough(rounds, num_rounds):
                waited_ns = _waited_ns(under_test.gateway_pid)
                through = await open_loop(web.send, requests, rate=case.per_second, seconds=turn_s)
                robbed = (_waited_ns(under_test.gateway_pid) - waited_ns) / 1e9 / through.seconds
                alone = await open_loop(direct.send, direct_requests, rate=case.per_second, seconds=turn_s)
                rounds.append(Round(through, alone, robbed))
        return Measured(case, most, tuple(rounds), num_rounds, scheduling)
    finally:
        web.close()
        direct.close()


def _waited_ns(pid: int) -> int:
    """How long a process has waited for a core in all, by the kernel's books; 0 where it keeps none."""
    file = Path(f"/proc/{pid}/schedstat")
    return int(file.read_text(encoding="ascii").split()[1]) if file.exists() else 0


async def run(cases: Sequence[Case], seconds: float, num_rounds: int) -> list[Measured]:
    """Measure each case with a gateway of its own."""
    cores = sorted(os.sched_getaffinity(0))
    gateway_cores, other_cores = {cores[0]}, set(cores[1:2]) or {cores[0]}
    try:
        measured = []
        for case in cases:
            async with bare_gateway(
                gateway_cores=gateway_cores, other_cores=other_cores, step_s=case.step_s
            ) as under_test:
                measured.append(await measure(case, under_test, seconds=seconds, num_rounds=num_rounds))
        return measured
    finally:
        os.sched_setaffinity(0, cores)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m spillway.bench gateway", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each of the nine measurements")
    parser.add_argument("--rounds", type=int, default=5, help="turns that the six of latencies are taken in")
    parser.add_argument("--out", type=Path, help="write what was found as JSON")
    given = parser.parse_args(arguments)
    if given.rounds < 1 or given.seconds / given.rounds < SHORTEST_TURN_S:
        parser.error(f"a turn has to last {SHORTEST_TURN_S:g} s at least: raise --seconds or lower --rounds")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        every = runner.run(run((WHOLE, STREAMED, PACED), given.seconds, given.rounds))
    whole, streamed, _ = every
    _print(every)
    promises = {
        f"at least {REQUESTS_PER_S:,.0f} requests a second": whole.most.per_second >= REQUESTS_PER_S,
        f"at least {STREAMED_TOKENS_PER_S:,.0f} streamed tokens a second": (
            streamed.tokens_per_s >= STREAMED_TOKENS_PER_S
        ),
        "every answer right": not sum(case.wrong for case in every),
    }
    for case in (whole, streamed):  # what the paced engine takes until its next step says nothing of the gateway
        name = case.case.name + ("' first token" if case.case.stream else "")
        promises[f"{name}: at most {ADDED_P50_MS} ms added at p50"] = case.promised.added_p50 <= ADDED_P50_MS
        promises[f"{name}: at most {ADDED_P99_MS} ms added at p99"] = case.promised.added_p99 <= ADDED_P99_MS
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
                "wrong": measured.wrong,
                "refused": measured.refused,
                "rounds taken": len(measured.taken),
                "that count": len(measured.rounds),
                "robbed of its core in them, %": 100 * measured.robbed,
            }
            for measured in cases
        ],
    )
    sys.stdout.write(f"\nScheduled while latencies were taken: {cases[0].scheduling}.\n")
    print_table(
        f"Latency at {WHOLE.per_second:g} whole answers and {STREAMED.per_second:g} streams a second, ms, "
        "medians of the rounds that count",
        [
            {
                "case": measured.case.name, "of": what,
                "p50": found.through.p50, "direct p50": found.direct.p50, "added p50": found.added_p50,
                "p99": found.through.p99, "direct p99": found.direct.p99, "added p99": found.added_p99,
            }
            for measured in cases
            for what, found in measured.latencies().items()
        ],
    )  # fmt: skip
    busy = [case.case.name for case in cases if not all(each.is_undisturbed for each in case.rounds)]
    if busy:
        sys.stdout.write(
            f"\nThe gateway's core was not its own, and the latencies are not its alone: {', '.join(busy)}.\n"
        )


def _facts(measured: Measured) -> dict[str, Any]:
    return {
        "case": measured.case.name,
        "requests_per_s": measured.most.per_second,
        "tokens_per_s": measured.tokens_per_s,
        "events_each": measured.most.events_each,
        "added_ms": {"p50": measured.promised.added_p50, "p99": measured.promised.added_p99},
        "latency_ms": msgspec.to_builtins(measured.latencies()),
        "rounds_taken": len(measured.taken),
        "rounds_that_count": len(measured.rounds),
        "scheduling": measured.scheduling,
        "wrong": measured.wrong,
        "refused": measured.refused,
        "robbed_share": measured.robbed,
    }


if __name__ == "__main__":
    sys.exit(main())
