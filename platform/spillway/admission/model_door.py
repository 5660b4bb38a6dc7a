"""The door of one model: what it learns from requests that pass, and what it decides on the next one.

::

    precheck ─▶ retry out of turn? ─▶ level? ─▶ queue full? ─▶ too slow, at the least? ─▶ go on, or Refused
    confirm  ─▶ queue full? ─▶ too slow, with exact counts? ─▶ Prediction, or Refused
    then     dispatched ─▶ first_token ─▶ finished    each says how good the prediction was, how fast slots come free
             left                                     from any of them

A request that was confirmed is open until it is finished or left, and nothing is open twice.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from spillway.admission.contract import Ask, Prediction
from spillway.admission.load.calibration import Calibrations
from spillway.admission.load.lengths import OutputLengths
from spillway.admission.load.model_load import EngineLoad, ModelLoad
from spillway.admission.load.prediction import Knowledge, predict, prefill_per_s
from spillway.admission.load.rates import RateMeter
from spillway.admission.load.service import ServiceTime
from spillway.admission.load.shares import Shares
from spillway.admission.shedding import refusals
from spillway.admission.shedding.bookings import EARLY_AMONG_SEVERAL_S, EARLY_S, Bookings
from spillway.admission.shedding.brownout import Brownout
from spillway.admission.shedding.dagor import Dagor, level_of
from spillway.admission.shedding.retry_budget import RetryBudget
from spillway.pool.contract import Refused
from spillway.settings import BrownoutStep

ALONE_MARGIN: Final = 1.25
"""A request is allowed this much more than it would take on an idle engine, if its objective is less."""
REFUSING_S: Final = 1.0
"""Load is being refused until so long after the last refusal."""
EDGE: Final = 0.9
"""Of what is allowed, for predictions: errors come in runs, and who is admitted at the edge is late by a little."""
AGE_SHARE: Final = 0.5
"""Of what is allowed, for the queue's age, while predictions are not believed."""
MOST_BETWEEN: Final = 4096
"""Requests between precheck and confirm."""

NOTHING_KNOWN: Final = Prediction(queue_s=0.0, prefill_s=0.0, kv_s=0.0, factor=1.0, alone_s=0.0)
"""What is returned for a request that was admitted without a prediction."""


class _Arrival(msgspec.Struct, frozen=True):
    by_appointment: bool
    level: int
    admitted_level: bool
    in_budget: bool


@dataclass(slots=True)
class _Open:
    ask: Ask
    prediction: Prediction | None
    allowed_s: float
    at: float
    engine_id: str | None = None
    dispatched: bool = False
    first_token: bool = False


class ModelDoor:
    """See the module. `draw` returns random numbers in [0, 1); `tier_of` names the tier of an objective, if known."""

    def __init__(
        self,
        *,
        draw: Callable[[], float],
        steps: Sequence[BrownoutStep],
        retry_ratio: float,
        tier_of: Callable[[Ask], str | None],
    ) -> None:
        self.shed = True
        self.gateways = 1
        self.most_queued = 1
        self.calibrations = Calibrations()
        self.lengths = OutputLengths()
        self.service = ServiceTime()
        self.shares = Shares()
        self.bookings = Bookings(draw)
        self.budget = RetryBudget(retry_ratio)
        self.dagor = Dagor()
        self.brownout = Brownout(steps)
        self.num_asked = self.num_admitted = self.num_refused = self.num_left = 0
        self._tier_of = tier_of
        self._fresh = RateMeter()
        self._dispatched = RateMeter()
        self._between: OrderedDict[str, _Arrival] = OrderedDict()
        self._open: dict[str, _Open] = {}
        self._waiting: dict[str, float] = {}
        """When those were confirmed that no engine has yet, the oldest first."""
        self._engines: dict[str, EngineLoad] = {}
        """As of the last decision that saw any."""
        self._last_refusal = float("-inf")

    def share(self, gateways: int) -> None:
        """Note how many gateways share the engines, and the clients."""
        self.gateways = gateways
        self.bookings.early_s = EARLY_S if gateways == 1 else EARLY_AMONG_SEVERAL_S

    # ---- decisions ----

    def precheck(
        self, ask: Ask, load: ModelLoad, now: float, most_prompt_tokens: int | None, *, confirmed_soon: bool
    ) -> Refused | None:
        """Refuse what has no chance, by lower bounds; `most_prompt_tokens`: an upper bound of its prompt, if known."""
        arrival = self._arrive(ask, now)
        refused = self._guard(ask, arrival, now) or self._full(ask, load, now)
        if refused is None and not confirmed_soon and not _is_clear(ask, load):
            verdict = self._judge(ask, arrival, load, now, most_prompt_tokens)
            refused = verdict if isinstance(verdict, Refused) else None
        if refused is None:
            self._between[ask.request_id] = arrival
            if len(self._between) > MOST_BETWEEN:
                self._between.popitem(last=False)
                self.num_left += 1
        return refused

    def confirm(self, ask: Ask, load: ModelLoad, now: float) -> Prediction | Refused:
        """Decide with exact counts. Raises ValueError if the request is open already."""
        if ask.request_id in self._open:
            raise ValueError(f"request {ask.request_id} was admitted already")
        arrival = self._between.pop(ask.request_id, None)
        refused = None
        if arrival is None:
            arrival = self._arrive(ask, now)
            refused = self._guard(ask, arrival, now)
        refused = refused or self._full(ask, load, now)
        if refused is not None:
            return refused
        verdict = self._judge(ask, arrival, load, now, None)
        if isinstance(verdict, Refused):
            return verdict
        prediction, allowed_s = verdict
        self._open[ask.request_id] = _Open(ask, prediction, allowed_s, now)
        self._waiting[ask.request_id] = now
        self.num_admitted += 1
        self.brownout.observe(0.0 if prediction is None else prediction.ttft_s / allowed_s, now)
        return NOTHING_KNOWN if prediction is None else prediction

    def _arrive(self, ask: Ask, now: float) -> _Arrival:
        self.num_asked += 1
        self.shares.want(ask, now)
        by_appointment = ask.retry > 0 and self.bookings.claim((ask.tenant_id, ask.band), now)
        in_budget = True
        if not by_appointment:
            self._fresh.add(1, now)
            if ask.retry > 0:
                in_budget = self.budget.retry(refusing=self.refusing(now))
            else:
                self.budget.first_try()
        level = level_of(ask, now)
        return _Arrival(by_appointment, level, self.dagor.arrive(level, now), in_budget)

    def _guard(self, ask: Ask, arrival: _Arrival, now: float) -> Refused | None:
        if not self.shed:
            return None
        if not arrival.in_budget:
            self._count_refusal(now)
            return refusals.too_many_retries(self.budget.ratio)
        if not arrival.admitted_level and not arrival.by_appointment:
            retry_s = self._retry_after(ask, 0.0, now)
            return refusals.level_shed(arrival.level, self.dagor.threshold, retry_s)
        return None

    def _full(self, ask: Ask, load: ModelLoad, now: float) -> Refused | None:
        waiting = load.num_waiting
        if waiting < self.most_queued:
            return None
        return refusals.queue_full(waiting, self.most_queued, self._retry_after(ask, 0.0, now))

    def _judge(
        self, ask: Ask, arrival: _Arrival, load: ModelLoad, now: float, most_prompt_tokens: int | None
    ) -> tuple[Prediction | None, float] | Refused:
        if load.engines:
            self._engines = {engine.engine_id: engine for engine in load.engines}
        known = Knowledge(
            service=self.service,
            shares=self.shares,
            factor=self.calibrations.of(ask.band, ask.tenant_id, now).factor,
            gateways=self.gateways,
        )
        prediction = predict(ask, load, known, now)
        allowed_s = ask.objective.ttft_s
        if prediction is None:
            return self._by_age(ask, None, allowed_s, now) if load.engines else self._by_return(ask, load, now)
        left_s = float("inf") if ask.deadline is None else ask.deadline - now
        alone_s = prediction.alone_s
        if most_prompt_tokens is not None and most_prompt_tokens > ask.prompt_tokens:
            alone_s = _alone_s(most_prompt_tokens, load)
        allowed_s = max(allowed_s, ALONE_MARGIN * alone_s)
        if prediction.ttft_s > left_s:
            retry_s = self._retry_after(ask, prediction.ttft_s - left_s, now)
            return refusals.misses_deadline(prediction, left_s, retry_s)
        if not self.shed or prediction.raw_s <= ALONE_MARGIN * prediction.alone_s:
            return prediction, allowed_s  # nothing is in its way; so there is always something to learn from, too
        if not self.calibrations.of(ask.band, ask.tenant_id, now).trusted:
            return self._by_age(ask, prediction, allowed_s, now)
        return self._by_prediction(ask, arrival, prediction, allowed_s, now)

    def _by_prediction(
        self, ask: Ask, arrival: _Arrival, prediction: Prediction, allowed_s: float, now: float
    ) -> tuple[Prediction, float] | Refused:
        """Decide by when its first token would come; part of the room is kept for those who were told to come back."""
        room_s = EDGE * allowed_s
        if not arrival.by_appointment:
            room_s *= 1.0 - self.bookings.reserved(now, self._dispatched.per_s(now))
        if prediction.ttft_s > room_s:
            retry_s = self._retry_after(ask, prediction.ttft_s - room_s, now)
            return refusals.too_slow(prediction, (room_s, allowed_s), self._tier_of(ask), retry_s)
        return prediction, allowed_s

    def _by_age(
        self, ask: Ask, prediction: Prediction | None, allowed_s: float, now: float
    ) -> tuple[Prediction | None, float] | Refused:
        """Decide by what is seen of the queue, where predictions cannot be made, or not be believed."""
        age_s = now - next(iter(self._waiting.values()), now)
        if self.shed and age_s > AGE_SHARE * allowed_s:
            return refusals.queue_too_old(age_s, AGE_SHARE * allowed_s, self._retry_after(ask, age_s, now))
        return prediction, allowed_s

    def _by_return(self, ask: Ask, load: ModelLoad, now: float) -> tuple[None, float] | Refused:
        """Decide while no engine is ready: who waits is what they can begin within the objective once they are back."""
        allowed_s = ask.objective.ttft_s
        ahead = sum(each.prefill_tokens for band in load.waiting.values() for each in band.values())
        speed = sum(prefill_per_s(each, each.pace) for each in self._engines.values() if each.pace is not None)
        if self.shed and ahead and speed and ahead / speed > allowed_s:
            wait_s = ahead / speed
            return refusals.engines_away(wait_s, allowed_s, self._retry_after(ask, wait_s, now))
        return None, allowed_s

    def refusing(self, now: float) -> bool:
        """Whether load is being refused."""
        return now - self._last_refusal < REFUSING_S

    def _count_refusal(self, now: float) -> None:
        self.num_refused += 1
        self._last_refusal = now
        self.brownout.observe(1.25, now)

    def _retry_after(self, ask: Ask, wait_s: float, now: float) -> float:
        self._count_refusal(now)
        return self.bookings.book(
            (ask.tenant_id, ask.band),
            now,
            capacity_per_s=self._dispatched.per_s(now),
            fresh_per_s=self._fresh.per_s(now),
            wait_s=wait_s,
        )

    # ---- what it hears ----

    def dispatched(self, request_id: str, now: float, engine_id: str | None) -> None:
        """An engine has it; again after a crash, which changes nothing here."""
        entry = self._open.get(request_id)
        if entry is None or entry.dispatched:
            return
        entry.dispatched, entry.engine_id = True, engine_id
        self._waiting.pop(request_id, None)
        ask = entry.ask
        self._dispatched.add(1, now)
        self.shares.take(ask, now)
        engine = None if engine_id is None else self._engines.get(engine_id)
        self.service.begin(request_id, now, max(1, ask.prompt_tokens - ask.matched_tokens), engine)
        self.dagor.waited((now - entry.at) / entry.allowed_s)

    def first_token(self, request_id: str, now: float) -> None:
        """Its first token is here: what was predicted meets what came."""
        entry = self._open.get(request_id)
        if entry is None or entry.first_token:
            return
        entry.first_token = True
        if entry.prediction is not None:
            self.calibrations.learn(entry.ask, entry.prediction.raw_s, now - entry.at, entry.allowed_s, now)

    def finished(self, request_id: str, now: float, output_tokens: int) -> None:
        """It is complete, with so many tokens in all its sequences together."""
        entry = self._close(request_id)
        if entry is None:
            return
        engine = None if entry.engine_id is None else self._engines.get(entry.engine_id)
        self.service.end(request_id, now, 1 if engine is None else engine.sequences)
        self.lengths.learn(entry.ask.tenant_id, round(output_tokens / max(1, entry.ask.sequences)))

    def left(self, request_id: str, now: float) -> None:
        """It ends otherwise, at any time after it arrived; what is not known does nothing."""
        if self._between.pop(request_id, None) is not None:
            self.num_left += 1
        entry = self._close(request_id)
        if entry is None:
            return
        self.service.forget(request_id)
        prediction = entry.prediction
        if prediction is not None and not entry.first_token and now - entry.at > prediction.raw_s:
            self.calibrations.learn(entry.ask, prediction.raw_s, now - entry.at, entry.allowed_s, now)

    def _close(self, request_id: str) -> _Open | None:
        self._waiting.pop(request_id, None)
        return self._open.pop(request_id, None)

    # ---- what it says of itself ----

    def facts(self, now: float) -> dict[str, float]:
        """Return numbers for metrics."""
        self.brownout.advance(now)
        self.bookings.advance(now)
        of_bands: dict[str, float] = {}
        for band, calibration in self.calibrations.bands.items():
            of_bands[f"prediction_factor_{band.label}"] = calibration.factor
            of_bands[f"prediction_mean_ratio_{band.label}"] = calibration.mean
            of_bands[f"prediction_error_{band.label}"] = calibration.error
            of_bands[f"prediction_trusted_{band.label}"] = float(calibration.trusted)
        return of_bands | {
            "asked": self.num_asked,
            "admitted": self.num_admitted,
            "refused": self.num_refused,
            "left_undecided": self.num_left,
            "open": len(self._open),
            "pressure": self.brownout.pressure,
            "brownout_level": self.brownout.level,
            "shedding_threshold": self.dagor.threshold,
            "retry_budget": self.budget.left,
            "returns_expected": self.bookings.num_open,
            "returns_claimed_share": self.bookings.claimed_share,
        }


def _is_clear(ask: Ask, load: ModelLoad) -> bool:
    """Whether it would begin at once: then `confirm` says all that there is to say."""
    if load.resumed or any(load.waiting.values()):
        return False
    return any(engine.free_slots >= ask.sequences for engine in load.engines)


def _alone_s(prompt_tokens: int, load: ModelLoad) -> float:
    """Return the least that a prompt of so many tokens takes on an idle engine."""
    times = []
    for engine in load.engines:
        if engine.pace is not None:
            chunks = -(-prompt_tokens // max(1, engine.capacity.max_num_batched_tokens))
            times.append(prompt_tokens * engine.pace.per_token_s + (chunks + 1) * engine.pace.step_s(1))
    return min(times, default=0.0)
