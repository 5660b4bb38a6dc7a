"""When a request would get its first token: waiting for a slot, then for the prefill, then for blocks of the cache.

::

    queue_s     its place in the line / the rate at which slots come free for its band and tenant; 0 while one is free
    prefill_s   prompt tokens before it that are not worked off by then, and its own, in chunks beside the decodes,
                and the step that runs when it comes
    kv_s        blocks that are missing even then / the rate at which running requests free them

Of several engines the one that would be first counts. What is not known is never guessed: there is no prediction then.
"""

from math import ceil, inf

import msgspec

from spillway.admission.contract import Ask, Prediction
from spillway.admission.load.model_load import EngineLoad, ModelLoad, Pace
from spillway.admission.load.service import ServiceTime
from spillway.admission.load.shares import Shares


class Knowledge(msgspec.Struct, frozen=True, kw_only=True):
    """What was learned of one model so far."""

    service: ServiceTime
    shares: Shares
    factor: float
    gateways: int = 1
    """How many share the engines."""


def slots_per_s(load: ModelLoad, known: Knowledge, now: float) -> float | None:
    """Return at which rate slots come free for this gateway once all are taken; None if nothing is known."""
    total = 0.0
    for engine in load.engines:
        rate = known.service.slots_per_s(engine, now)
        if rate is None:
            return None
        total += rate
    in_flight = sum(engine.sequences for engine in load.engines)
    share = max(load.own_running / in_flight if in_flight else 1.0, 1.0 / known.gateways)
    return total * min(1.0, share)


def predict(ask: Ask, load: ModelLoad, known: Knowledge, now: float) -> Prediction | None:
    """Return when `ask` would get its first token, None if nothing is known to say it by."""
    engines = [(engine, engine.pace) for engine in load.engines if engine.pace is not None]
    if not engines:
        return None
    in_line = _in_line(ask, load)
    queue_s = _queue_s(ask, load, known, in_line.sequences, now)
    if queue_s is None:
        return None
    own = max(1, ask.prompt_tokens - ask.matched_tokens)
    speeds = [prefill_per_s(engine, pace) for engine, pace in engines]
    together = sum(speeds)
    best: tuple[float, float, float] | None = None
    alone_s = min(_chunks_s(own, engine, pace, rows=0) + pace.step_s(1) for engine, pace in engines)
    for (engine, pace), speed in zip(engines, speeds, strict=True):
        ahead = engine.prefill_tokens + in_line.prefill_tokens * speed / together
        rows = _rows(engine)
        prefill_s = max(0.0, ahead / speed - queue_s) + _chunks_s(own, engine, pace, rows) + pace.step_s(rows)
        missing = _missing_blocks(ask, engine, in_line.prefill_tokens * speed / together)
        kv_s = 0.0
        if missing > 0:  # blocks come free with the same requests as slots: it waits for both at once
            kv_s = max(0.0, missing / _blocks_per_s(engine, known, now) - queue_s)
        if best is None or prefill_s + kv_s < best[0]:
            best = prefill_s + kv_s, prefill_s, kv_s
    if best is None:
        return None
    return Prediction(queue_s=queue_s, prefill_s=best[1], kv_s=best[2], factor=known.factor, alone_s=alone_s)


class _InLine(msgspec.Struct, frozen=True):
    sequences: int
    prefill_tokens: int


def _in_line(ask: Ask, load: ModelLoad) -> _InLine:
    """Return what waits in the bands down to the request's own."""
    sequences = load.resumed
    tokens = 0
    for band, tenants in load.waiting.items():
        if band <= ask.band:
            for each in tenants.values():
                sequences += each.sequences
                tokens += each.prefill_tokens
    return _InLine(sequences, tokens)


def _queue_s(ask: Ask, load: ModelLoad, known: Knowledge, in_line: int, now: float) -> float | None:
    free = sum(max(0, int(engine.free_slots)) for engine in load.engines)
    if free >= in_line + ask.sequences:
        return 0.0
    rate = slots_per_s(load, known, now)
    if rate is None:
        return None
    here = load.waiting.get(ask.band, {})
    before = load.resumed + sum(
        each.sequences for band, tenants in load.waiting.items() if band < ask.band for each in tenants.values()
    )
    own = here.get(ask.tenant_id)
    behind_own = (0 if own is None else own.sequences) + ask.sequences
    used = min(before, free)
    before, free = before - used, free - used
    # An engine that holds more than its limit, which was lowered meanwhile, frees no slot before it is below it.
    before += sum(max(0, ceil(-engine.free_slots)) for engine in load.engines)
    part = known.shares.part(ask, rate, load.waiting, now)
    return before / rate + max(0, behind_own - free) / part


def _rows(engine: EngineLoad) -> int:
    """Return how many decode beside a prefill there."""
    return max(0, min(engine.sequences, engine.capacity.max_num_seqs))


def _chunk(engine: EngineLoad, rows: int) -> int:
    return max(1, engine.capacity.max_num_batched_tokens - rows)


def prefill_per_s(engine: EngineLoad, pace: Pace) -> float:
    """Return prompt tokens per second while the engine has enough of them to do, beside its decodes."""
    rows = _rows(engine)
    chunk = _chunk(engine, rows)
    return chunk / max(1e-9, pace.step_s(rows, chunk))


def _chunks_s(tokens: int, engine: EngineLoad, pace: Pace, rows: int) -> float:
    """Return how long the steps take in which `tokens` of one prompt are computed."""
    return tokens * pace.per_token_s + ceil(tokens / _chunk(engine, rows)) * pace.step_s(rows)


def _missing_blocks(ask: Ask, engine: EngineLoad, tokens_ahead: float) -> float:
    """Return how many more blocks must come free there before its prompt has a place."""
    size = engine.capacity.block_size
    need = ceil(max(1, ask.prompt_tokens - ask.matched_tokens) / size) + tokens_ahead / size
    return need - engine.free_blocks


def _blocks_per_s(engine: EngineLoad, known: Knowledge, now: float) -> float:
    """Return how fast the requests that run there free theirs; infinite if nothing is known of it."""
    rate = known.service.slots_per_s(engine, now, full=False)
    held = engine.capacity.num_blocks - engine.free_blocks
    if rate is None or held <= 0 or engine.sequences <= 0:
        return inf
    return rate * held / engine.sequences
