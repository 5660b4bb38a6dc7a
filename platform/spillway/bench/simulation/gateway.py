"""A gateway on paper: the real door, line, limit and fit of pace, before engines that it knows by what they say."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from random import Random

from spillway.admission.contract import Ask
from spillway.admission.door import Door
from spillway.admission.load.limit import AdaptiveLimit
from spillway.admission.load.model_load import EngineLoad, ModelLoad
from spillway.admission.load.pace import PaceFit
from spillway.admission.queue.bands import FreshLine
from spillway.bench.simulation.engine import Job, SimEngine
from spillway.bench.simulation.traffic import Request
from spillway.pool.capacity import EngineBook
from spillway.pool.contract import Refused, Work
from spillway.settings import Settings
from spillway_wire.sampling import SamplingParams

MODEL = "model"
MAX_TOKENS = 1024
PARAMS = SamplingParams()


@dataclass(frozen=True, slots=True)
class Entry:
    """A request that waits, or runs."""

    request: Request
    arrival: int
    queued_at: float
    work: Work

    @property
    def request_id(self) -> str:
        """Of this try: what the door knows it by."""
        return self.work.request_id


class Link:
    """What the gateway knows of one engine."""

    def __init__(self, engine: SimEngine, limit: AdaptiveLimit) -> None:
        self.engine, self.limit = engine, limit
        self.book = EngineBook(engine.kind.capacity)
        self.pace = PaceFit()
        self.last_chosen = -1
        self.num_preempted = 0

    def has_room(self, prompt_tokens: int) -> bool:
        """Whether one more may go there."""
        known = self.book.estimate()
        if not known.sequences:
            return True
        blocks = -(-prompt_tokens // self.book.capacity.block_size)
        return known.sequences + 1 <= self.limit.value and blocks <= known.free_blocks


class SimGateway:
    """One of several that share the engines."""

    def __init__(
        self,
        number: int,
        settings: Settings,
        *,
        random: Random,
        tpot_s: float,
        send: Callable[[SimEngine, Job], None],
    ) -> None:
        """`tpot_s`: the strictest objective of what is asked."""
        self.number = number
        self.door = Door(settings, draw=random.random)
        self.line: FreshLine[Entry] = FreshLine()
        self.resumed: deque[Entry] = deque()
        self._tpot_s, self._send = tpot_s, send
        self._links: dict[str, Link] = {}
        self._running: dict[str, tuple[Entry, str]] = {}
        """By the request's id: the entry, and its engine's name."""
        self._number = count()
        self.peak_over_limit = 0.0
        """By how much it ever filled an engine beyond the limit of that moment."""

    # ---- engines ----

    def connect(self, engine: SimEngine, limit: AdaptiveLimit) -> None:
        """Begin with an engine."""
        link = self._links[engine.name] = Link(engine, limit)
        link.limit.expect(self._tpot_s)

    def disconnect(self, engine: SimEngine, now: float) -> None:
        """An engine is lost: what it had of this gateway goes on elsewhere, before all others."""
        del self._links[engine.name]
        lost = [entry for entry, name in self._running.values() if name == engine.name]
        for entry in lost:
            del self._running[entry.request.id]
        self.resumed.extend(lost)
        self.dispatch(now)

    def hear(self, engine: SimEngine, now: float) -> None:
        """Take in what an engine says after a step."""
        link = self._links.get(engine.name)
        if link is None:
            return
        load = engine.load()
        link.book.hear(load, engine.received.get(self.number, 0))
        link.pace.observe(engine.step_s, engine.num_decodes, engine.num_prefill_tokens)
        if engine.num_preempted > link.num_preempted:
            link.num_preempted = engine.num_preempted
            link.limit.note_preemption()
        link.limit.observe(
            now,
            engine.step_s,
            engine.num_decodes,
            engine.num_prefill_tokens,
            in_flight=load.running + load.waiting,
            objective_s=self._tpot_s,
            demand=bool(len(self.line)),
        )

    def load(self) -> ModelLoad:
        """Return what is known now."""
        engines = []
        for link in self._links.values():
            known = link.book.estimate()
            engines.append(
                EngineLoad(
                    engine_id=link.engine.name,
                    capacity=link.book.capacity,
                    sequences=known.sequences,
                    free_blocks=known.free_blocks,
                    prefill_tokens=known.prefill_tokens,
                    limit=link.limit.value,
                    pace=link.pace.pace,
                )
            )
        return ModelLoad(
            engines=tuple(engines),
            waiting=self.line.waiting,
            resumed=len(self.resumed),
            own_running=len(self._running),
        )

    # ---- requests ----

    def ask(self, request: Request, now: float) -> Refused | None:
        """Decide on a request, as the real gateway does: by lower bounds, then exactly."""
        source = request.source
        request.asked_at = now
        request.tries += 1
        refused = self.door.precheck(
            _ask_of(request, 0, 0), self.load(), now, most_prompt_tokens=4 * request.prompt_tokens
        )
        if refused is None:
            likely = self.door.likely_output(MODEL, source.tenant_id, MAX_TOKENS)
            exact = _ask_of(request, request.prompt_tokens, likely)
            verdict = self.door.confirm(exact, self.load(), now)
            refused = verdict if isinstance(verdict, Refused) else None
        if refused is not None:
            request.refusals += 1
            return refused
        request.admitted_at = now
        work = Work(
            request_id=_name_of(request),
            model=MODEL,
            prompt_token_ids=[0] * request.prompt_tokens,
            params=PARAMS,
            band=source.band,
            tenant_id=source.tenant_id,
            weight=source.weight,
            tpot_s=source.objective.tpot_s,
        )
        self.line.push(Entry(request, next(self._number), now, work))
        self.dispatch(now)
        return None

    def dispatch(self, now: float) -> None:
        """Send what there is room for, each to the engine with the most of it."""
        while (entry := self.resumed[0] if self.resumed else self.line.first(now)) is not None:
            request = entry.request
            able = [link for link in self._links.values() if link.has_room(request.prompt_tokens)]
            if not able:
                return
            link = min(able, key=lambda one: (one.book.estimate().sequences / one.limit.value, one.last_chosen))
            link.last_chosen = next(self._number)
            if self.resumed:
                self.resumed.popleft()
            else:
                self.line.take(entry, request.prompt_tokens, now)
            link.book.debit(fresh=True, sequences=1, prefill_tokens=request.prompt_tokens)
            held = link.book.estimate().sequences
            self.peak_over_limit = max(self.peak_over_limit, held - max(1.0, link.limit.value))
            self._running[request.id] = entry, link.engine.name
            if request.dispatched_at is None:
                request.dispatched_at = now
                self.door.dispatched(entry.request_id, now, link.engine.name)
            made = 0 if request.first_at is None else 1
            self._send(
                link.engine, Job(request.id, self.number, request.prompt_tokens, request.output_tokens, made=made)
            )

    def token(self, request: Request, now: float, *, last: bool) -> None:
        """A token of a request came."""
        entry, _ = self._running[request.id]
        self.line.charge(entry, 1)
        if request.first_at is None:
            request.first_at = now
            self.door.first_token(entry.request_id, now)
        if last:
            request.ended_at = now
            del self._running[request.id]
            self.line.end(entry)
            self.door.finished(entry.request_id, now, request.output_tokens)


def _name_of(request: Request) -> str:
    return f"{request.id}/{request.tries}"


def _ask_of(request: Request, prompt_tokens: int, output_tokens: int) -> Ask:
    source = request.source
    return Ask(
        request_id=_name_of(request),
        model=MODEL,
        tenant_id=source.tenant_id,
        key_id=source.tenant_id,
        band=source.band,
        weight=source.weight,
        objective=source.objective,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        retry=request.tries - 1,
    )
