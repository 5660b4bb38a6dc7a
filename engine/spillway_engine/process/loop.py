"""The step loop: one thread, one event loop. Receive, step, send, repeat.

::

      ┌──────────────▶ sockets are served (one pass of the event loop: requests and orders in, frames out)
      │                   │
      │                   ▼
      │    order to stop? order to drain and nothing left? ──▶ end
      │                   │
      │                   ▼
      │            credits to clients
      │                   │
      │                   ▼
      │               core.step()      blocks the loop on purpose: between steps is the only time anything can change
      │                   │
      │                   ▼
      │     one frame for each client, page, beat each 0.5 s
      └───────────────────┘            nothing to do: wait for a message, the core's next wake-up or the next beat

What runs here: the engine process and nothing else (see `process`). A client that dies ends its requests (see
`channels`). A step that raises ends the process, with last words; what was running is resumed by whoever sent it.
"""

import asyncio
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from spillway_engine.errors import RequestError
from spillway_engine.instruments import Instruments
from spillway_engine.process.channels import Channels
from spillway_engine.process.core_contract import Core, StepFacts
from spillway_engine.process.exits import EXIT_OK, LoopEnd
from spillway_engine.process.faults import Faults
from spillway_wire.messages import Abort, Delta, Inject, Injected, LastWords, Load, Submit
from spillway_wire.outcomes import Outcome
from spillway_wire.page import Counter, EngineState, PageWriter

TICK_S = 0.5


class StepLoop:
    """Drives a core between its channels and its page. `drain` and `stop` only set flags; `run` acts on them."""

    def __init__(
        self,
        core: Core,
        page: PageWriter,
        *,
        clock_ns: Callable[[], int],
        log: Callable[..., None],
        faults: Faults | None = None,
        instruments: Instruments | None = None,
        tick_s: float = TICK_S,
        orphaned: Callable[[], bool] = lambda: False,
        device_facts: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._core = core
        self._page = page
        self._counters = page.counters
        self._clock_ns = clock_ns
        self._log = log
        self._faults = faults
        if faults is not None:
            faults.on_struck = self._count_struck
        self._instruments = instruments
        self._orphaned = orphaned
        self._device_facts = device_facts
        self._tick_ns = int(tick_s * 1e9)
        self._next_tick_ns = 0
        self._last_step = 0
        self._wake = asyncio.Event()
        self._draining = False
        self._stopping = False
        self._channels: Channels | None = None

    # ---- what the channels ask (see `channels.Desk`) ----

    def submit(self, client_id: str, message: Submit) -> None:
        """Queue a request, or reject it at once."""
        self._counters[Counter.REQUESTS_RECEIVED] += 1
        if self._draining or self._stopping:
            self._reject(client_id, message, Outcome.DRAINING, "this engine is draining")
            return
        try:
            self._core.submit(client_id, message)
        except RequestError as error:
            self._reject(client_id, message, error.outcome, str(error))
            return
        except Exception as error:  # noqa: BLE001 - ours, but it is this request's alone: the others go on
            self._log("submit_failed", error="".join(traceback.format_exception(error)))
            self._reject(client_id, message, Outcome.INTERNAL, f"{type(error).__name__}: {error}")
            return
        self._wake.set()

    def _reject(self, client_id: str, message: Submit, outcome: Outcome, text: str) -> None:
        self._counters[Counter.REQUESTS_REJECTED] += 1
        if self._channels is not None:
            self._channels.reject(client_id, message.request_id, message.attempt, outcome, text)

    def abort(self, client_id: str, message: Abort) -> None:
        """Forget one attempt, or one choice of it."""
        if message.choice is not None:
            if self._core.end_choice(client_id, message.request_id, message.attempt, message.choice):
                self._wake.set()
        elif self._core.abort(client_id, message.request_id, message.attempt):
            self._counters[Counter.REQUESTS_ABORTED] += 1
            self._wake.set()

    def client_gone(self, client_id: str, outcome: Outcome) -> None:
        """Forget all of a client's requests: it went away, or did not read."""
        num_aborted = self._core.abort_client(client_id, outcome)
        if num_aborted:
            self._counters[Counter.REQUESTS_ABORTED] += num_aborted
            self._log("client_gone", client=client_id, outcome=outcome, aborted=num_aborted)
            self._wake.set()

    def credits_wanted(self) -> None:
        """Grant credits in the next round of the loop."""
        self._wake.set()

    def load(self) -> Load:
        """Return the core's load now."""
        return self._core.load()

    def drain(self) -> None:
        """Take nothing new; end when everything known is finished."""
        self._draining = True
        self._page.state = EngineState.DRAINING
        self._wake.set()

    def stop(self) -> None:
        """End after the step that runs."""
        self._stopping = True
        self._wake.set()

    def signalled(self) -> None:
        """The first SIGTERM or SIGINT drains, the second stops."""
        if self._draining:
            self.stop()
        else:
            self.drain()

    def inject(self, message: Inject) -> Injected:
        """Arm a fault."""
        if self._faults is None:
            return Injected(fault=message.fault, armed=False, message="this engine was not started with --chaos")
        answer = self._faults.arm(message, self._last_step)
        self._log("inject", fault=message.fault, armed=answer.armed, message=answer.message)
        return answer

    def snapshot(self) -> dict[str, Any]:
        """Describe core, page and clients in plain values."""
        clients = {} if self._channels is None else self._channels.clients
        return {
            "core": msgspec.to_builtins(self._core.snapshot()),
            "device": self._device_facts(),
            "state": self._page.state.name.lower(),
            "step": self._last_step,
            "counters": {counter.name.lower(): self._counters[counter] for counter in Counter},
            "clients": {
                client.id: {
                    "channels": sorted(str(channel) for channel in client.channels),
                    "output_sequence": client.sequence,
                    "unsent_bytes": sum(wire.unsent_bytes for wire in client.channels.values()),
                }
                for client in clients.values()
            },
        }

    # ---- the loop ----

    async def run(self, channels: Channels) -> LoopEnd:
        """Serve until told to end, or until a step raises."""
        self._channels = channels
        if not self._draining:
            self._page.state = EngineState.READY
        try:
            return await self._serve(channels)
        except Exception as error:  # noqa: BLE001 - whatever it is, this process ends with it and says so
            self._log("step_failed", error=f"{type(error).__name__}: {error}")
            return LoopEnd.of_failure(error)
        finally:
            self._page.state = EngineState.STOPPED
            self._page.tick(self._clock_ns())

    async def _serve(self, channels: Channels) -> LoopEnd:
        core = self._core
        while True:
            if self._stopping:
                self._end_all(channels)
                return LoopEnd(LastWords(cause="stopped", message="told to stop"), EXIT_OK)
            if self._draining and not core.has_work:
                return LoopEnd(LastWords(cause="drained", message="everything known is finished"), EXIT_OK)
            if not self._draining:
                load = core.load()
                channels.send_credits(load.running + load.waiting)  # what they bring can arrive during the step
            stepped = core.has_work and self._step(channels)
            now_ns = self._clock_ns()
            if now_ns >= self._next_tick_ns:
                self._tick(channels, now_ns)
            if stepped:
                await asyncio.sleep(0)  # one pass of the event loop
            else:
                await self._wait(now_ns)

    def _step(self, channels: Channels) -> bool:
        """Run one step and queue what came of it; False if there was nothing to run now."""
        if self._faults is not None:
            self._faults.before_schedule(self._last_step + 1)
        report = self._core.step()
        if report is None:
            return False
        self._last_step = report.step
        load = self._core.load()
        self._count(report, load)
        if self._instruments is not None:
            self._instruments.stepped(report)
        self._page.end(self._clock_ns())
        by_client: dict[str, list[Delta]] = {client_id: [] for client_id in channels.readers}
        for client_id, delta in report.deltas:
            by_client.setdefault(client_id, []).append(delta)
        for client_id, deltas in by_client.items():
            channels.send_step(client_id, report, load, deltas)
        return True

    def _count(self, report: StepFacts, load: Load) -> None:
        counters = self._counters
        counters[Counter.STEPS] = report.step
        counters[Counter.STEP_TOKENS] += report.num_tokens
        for _, delta in report.deltas:
            counters[Counter.OUTPUT_TOKENS] += len(delta.token_ids)
            if delta.finish is not None:
                completed = delta.finish.outcome is Outcome.COMPLETED
                counters[Counter.CHOICES_COMPLETED if completed else Counter.CHOICES_FAILED] += 1
        totals = self._core.totals()
        counters[Counter.FAILED_LOGITS] = totals.failed_logits
        counters[Counter.PREEMPTIONS] = totals.preemptions
        counters[Counter.PREFIX_QUERIES] = totals.prefix_queries
        counters[Counter.PREFIX_HITS] = totals.prefix_hits
        counters[Counter.OUT_OF_MEMORY] = totals.out_of_memory
        self._count_load(load)

    def _count_load(self, load: Load) -> None:
        counters = self._counters
        counters[Counter.RUNNING] = load.running
        counters[Counter.WAITING] = load.waiting
        counters[Counter.FREE_BLOCKS] = load.free_blocks
        counters[Counter.WAITING_PREFILL_TOKENS] = load.waiting_prefill_tokens

    def _count_struck(self, num_struck: int) -> None:
        self._counters[Counter.FAULTS_STRUCK] = num_struck

    def _end_all(self, channels: Channels) -> None:
        now_ns = self._clock_ns()
        # To whoever can go on elsewhere this is no failure of the request: its tokens are where they were.
        ended = self._core.end_all(Outcome.DRAINING, "the engine was stopped")
        report = _LastReport(step=self._last_step, started_ns=now_ns, ended_ns=now_ns, deltas=ended)
        load = self._core.load()
        self._count(report, load)
        for client_id in dict.fromkeys(client_id for client_id, _ in ended):
            channels.send_step(client_id, report, load, [delta for owner, delta in ended if owner == client_id])

    def _tick(self, channels: Channels, now_ns: int) -> None:
        self._next_tick_ns = now_ns + self._tick_ns
        self._core.check_if_idle()
        channels.check_integrity()
        self._count_load(self._core.load())
        if self._orphaned():
            self._log("orphaned", message="the process that started this one is gone")
            self.stop()
        self._page.tick(now_ns)
        channels.beat(self._last_step, now_ns)

    async def _wait(self, now_ns: int) -> None:
        """Wait for a message, the core's wake-up or the next tick, whichever comes first."""
        until_ns = self._next_tick_ns
        wakeup_ns = self._core.next_wakeup_ns if self._core.has_work else None
        if wakeup_ns is not None:
            until_ns = min(until_ns, wakeup_ns)
        try:
            async with asyncio.timeout(max(0.0, (until_ns - now_ns) / 1e9)):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()


@dataclass(frozen=True, slots=True)
class _LastReport:
    """The report of no step: what was ended from outside."""

    step: int
    started_ns: int
    ended_ns: int
    deltas: list[tuple[str, Delta]]
    num_tokens: int = 0
    num_decodes: int = 0
