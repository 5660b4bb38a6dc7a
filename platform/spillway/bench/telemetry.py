"""What telemetry costs a request: `spillway bench telemetry`; with `--pure` only the parts of traces, in this process.

The whole platform is measured as `telemetry_cost` says. A request of the pure measurement has one attempt on one engine
and as many tokens as asked for. What is measured on the loop is what a gateway's loop does; what the thread does is
measured apart, as it runs beside the loop.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from spillway.bench.figures import print_promises, print_table, write_json
from spillway.bench.telemetry_cost import costs, measure, promises, rows
from spillway.pool.contract import Work
from spillway.pool.journal import Journal
from spillway.pool.ticket import PoolTicket
from spillway.telemetry.trace_store.writer import StoreWriter
from spillway.telemetry.tracing.recorder import RequestTrace, TokenCounts
from spillway.telemetry.tracing.sampling import Sampler
from spillway.telemetry.tracing.shared import Buildable, Tracing
from spillway.telemetry.tracing.steps import StepBooks
from spillway.telemetry.tracing.trace import Trace
from spillway_wire.messages import Delta, Load, Moment, MomentKind, StepOutput
from spillway_wire.outcomes import Outcome
from spillway_wire.sampling import SamplingParams

_LOOP_ALLOWED_US: Final = 20.0
_LEFT_OUT_ALLOWED_US: Final = 10.0
_BATCH: Final = 128
_AGO_S: Final = 0.4
"""How long the requests took that are recorded."""
_HEADERS: Final = (
    (b"host", b"127.0.0.1:8000"),
    (b"content-type", b"application/json"),
    (b"authorization", b"Bearer sk-x"),
    (b"user-agent", b"OpenAI/Python"),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
)


class _Requests:
    """Makes requests whose life in the pool is over; only what their traces do is measured."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens
        self._journal = Journal()
        self._made = 0

    def ticket(self) -> PoolTicket:
        """Return the ticket of a request that was served."""
        self._made += 1
        now = time.monotonic() - _AGO_S
        work = Work(
            request_id=f"r{self._made}", model="demo", prompt_token_ids=[1] * 16, params=SamplingParams(max_tokens=64)
        )
        entry = self._journal.open(work, now, ())
        entry.begin_attempt("engine-0", 1, now)
        at_ns, apart_ns = int(now * 1e9), int(_AGO_S * 1e9) // 8
        kinds = (
            MomentKind.QUEUED,
            MomentKind.SCHEDULED,
            MomentKind.PREFILL_CHUNK,
            MomentKind.FIRST_TOKEN,
            MomentKind.LAST_TOKEN,
        )
        moments = tuple(Moment(kind=kind, at_ns=at_ns + place * apart_ns, value=16) for place, kind in enumerate(kinds))
        entry.accept(
            Delta(
                request_id=work.request_id,
                attempt=1,
                choice=0,
                position=0,
                token_ids=tuple(range(self._tokens)),
                moments=moments,
            )
        )
        self._journal.close(entry, now + _AGO_S * 0.75, str(Outcome.COMPLETED))
        return PoolTicket(entry, lambda *_: None, lambda *_: None)


def _record(tracing: Tracing, ticket: PoolTicket, counts: TokenCounts, writes: int) -> RequestTrace:
    entry = ticket.entry
    trace = tracing.begin(_HEADERS, endpoint="chat", request_id=entry.request_id, began=entry.queued_at - 0.01)
    trace.answer_headers()
    trace.admitted(stream=True, predicted_ttft_s=0.1)
    trace.submitted(ticket)
    trace.first_token()
    for _ in range(writes):
        trace.sent(200, 0.0)
    trace.ended(Outcome.COMPLETED, status=200, counts=counts)
    return trace


def _per_request_us(requests: int, work: Callable[[int], object]) -> float:
    """Return the processor time of one call in microseconds: the best of five rounds."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time_ns()
        for number in range(requests):
            work(number)
        best = min(best, (time.process_time_ns() - began) / requests / 1e3)
    return best


def pure(requests: int, tokens: int) -> dict[str, float]:
    """Return microseconds of processor time by what they are spent on."""
    made = _Requests(tokens)
    tickets = [made.ticket() for _ in range(requests)]
    counts = TokenCounts(prompt_tokens=16, output_tokens=tokens, cached_tokens=0)
    offered: list[Buildable] = []
    found: dict[str, float] = {}
    kept = Tracing(offered.append, sampler=_Everything())
    found["loop_kept_us"] = _per_request_us(requests, lambda n: _record(kept, tickets[n], counts, 0))
    found["loop_kept_with_writes_us"] = _per_request_us(requests, lambda n: _record(kept, tickets[n], counts, tokens))
    never = Tracing(offered.append, sampler=Sampler(0.0))
    found["loop_left_out_us"] = _per_request_us(requests, lambda n: _record(never, tickets[n], counts, 0))
    records = [_record(kept, ticket, counts, 0) for ticket in tickets]
    traces = list[Trace]()
    found["thread_build_us"] = _per_request_us(requests, lambda n: records[n].build())
    traces = [record.build() for record in records]
    found["thread_store_us"] = _store_us(traces)
    found["spans"] = float(len(traces[0].spans))
    found["step_note_us"] = _step_us()
    return found


class _Everything(Sampler):
    """Keeps all, also against the caller's word."""

    def samples(self, trace_id: bytes, parent: object) -> bool:
        return True


def _store_us(traces: Sequence[Trace]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        store = StoreWriter(Path(folder) / "traces.db", log=lambda *_, **__: None)
        store.write(traces[:1])
        began = time.process_time_ns()
        for start in range(1, len(traces), _BATCH):
            store.write(traces[start : start + _BATCH])
        took_us = (time.process_time_ns() - began) / 1e3
        store.close(0.0)
    return took_us / (len(traces) - 1)


def _step_us() -> float:
    books = StepBooks(lambda _: None)
    load = Load(running=8, waiting=0, free_blocks=10, waiting_prefill_tokens=0)
    outputs = [
        StepOutput(sequence=n, step=n, started_ns=n * 10, ended_ns=n * 10 + 9, load=load, deltas=(), decode_rows=8)
        for n in range(1, 20_001)
    ]
    began = time.process_time_ns()
    for output in outputs:
        books.note("engine-0", 1, output)
    return (time.process_time_ns() - began) / len(outputs) / 1e3


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if telemetry costs more than it may."""
    parser = argparse.ArgumentParser(prog="spillway bench telemetry", description=__doc__)
    parser.add_argument("--pure", action="store_true", help="the parts alone, without a running platform")
    parser.add_argument("--requests", type=int, default=2_000, metavar="N", help="of the pure measurement")
    parser.add_argument("--tokens", type=int, default=64, metavar="N", help="of each of these, each written by itself")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="of the whole platform")
    parser.add_argument("--seconds", type=float, default=15.0, metavar="S", help="of each turn")
    parser.add_argument("--in-flight", type=int, default=4, metavar="N", help="requests at a time")
    parser.add_argument("--engines", type=int, default=2)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON")
    given = parser.parse_args(arguments)
    if given.requests < 2 or given.rounds < 1:
        parser.error("give at least 2 --requests and 1 --rounds")
    parts = pure(given.requests, given.tokens)
    kept = _report_parts(parts, given.tokens)
    if given.pure:
        write_json(given.out, {"parts": parts, "promises": kept})
        return 0 if print_promises(kept) else 1
    rounds = measure(rounds=given.rounds, seconds=given.seconds, in_flight=given.in_flight, engines=given.engines)
    found = costs(rounds)
    requests = sum(turn.requests for each in rounds for turn in each.values())
    print_table(f"A whole platform, {given.rounds} rounds, {requests:,} requests; medians, 95 % intervals", rows(found))
    kept |= promises(found, parts["loop_left_out_us"])
    write_json(given.out, {"parts": parts, "rounds": rounds, "costs": found, "promises": kept})
    return 0 if print_promises(kept) else 1


def _report_parts(found: Mapping[str, float], tokens: int) -> dict[str, bool]:
    says = {
        "loop_kept_us": "on the loop, of a request whose trace is kept",
        "loop_kept_with_writes_us": f"the same with {tokens} writes",
        "loop_left_out_us": "on the loop, of a request whose trace is not kept",
        "thread_build_us": f"in the thread, to write down what {found['spans']:.0f} spans are made of",
        "thread_store_us": "in the thread, to store it",
        "step_note_us": "on the loop, of an engine's frame",
    }
    print_table("The parts of traces, alone", [{"µs": found[name], "for what": text} for name, text in says.items()])
    return {
        f"a kept trace takes the loop at most {_LOOP_ALLOWED_US:g} µs": found["loop_kept_us"] <= _LOOP_ALLOWED_US,
        f"one that is not kept at most {_LEFT_OUT_ALLOWED_US:g} µs": found["loop_left_out_us"] <= _LEFT_OUT_ALLOWED_US,
    }


if __name__ == "__main__":
    sys.exit(main())
