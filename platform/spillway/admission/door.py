"""The door: whether what is asked can be served in time, decided twice, and when to come back if it cannot.

`precheck` is for before a request is tokenized: it knows lower bounds, and costs microseconds. `confirm` is the last
word: what it admits must be given to the pool in the same turn of the event loop, so that the next decision sees it.
Models share nothing but the code (`model_door`). ::

    door = Door(settings, draw=Random().random)
    refused = door.precheck(ask, pool.load(model), now)
    verdict = door.confirm(exact_ask, pool.load(model), now)
    door.dispatched(request_id, now, engine_id); door.first_token(…); door.finished(…) or door.left(…)
"""

from collections.abc import Callable, Mapping

from spillway.admission.contract import Ask, Prediction
from spillway.admission.load.model_load import ModelLoad
from spillway.admission.model_door import ModelDoor
from spillway.admission.shedding.brownout import Brownout
from spillway.pool.contract import Refused
from spillway.settings import Settings, TierSettings


class Door:
    """One gateway's. Nothing here waits, and time comes in; `draw` returns random numbers in [0, 1)."""

    def __init__(self, settings: Settings, *, draw: Callable[[], float]) -> None:
        self._settings, self._draw = settings, draw
        self._gateways = settings.gateways
        self._models: dict[str, ModelDoor] = {}
        self._model_of: dict[str, str] = {}
        """Of requests that are under way."""
        self._tiers = _names_of(settings.tiers)
        self._floor = (0, 0.0)

    def reload(self, settings: Settings) -> None:
        """Take over other settings; what was learned stays."""
        self._settings = settings
        self._tiers = _names_of(settings.tiers)
        for model in self._models.values():
            model.brownout.reload(settings.brownout)
            self._configure(model)

    def set_gateways(self, number: int) -> None:
        """Say how many gateways share the engines now."""
        self._gateways = max(1, number)
        for model in self._models.values():
            model.share(self._gateways)

    def _configure(self, model: ModelDoor) -> None:
        model.shed = self._settings.admission.shed
        model.budget.ratio = self._settings.admission.retry_budget
        model.most_queued = self._settings.limits.max_queued_requests
        model.share(self._gateways)

    @property
    def models(self) -> tuple[str, ...]:
        """Those that were asked for."""
        return tuple(self._models)

    def model(self, name: str) -> ModelDoor:
        """Return the door of one model; made when first asked for."""
        door = self._models.get(name)
        if door is None:
            door = self._models[name] = ModelDoor(
                draw=self._draw,
                steps=self._settings.brownout,
                retry_ratio=self._settings.admission.retry_budget,
                tier_of=lambda ask: self._tiers.get((ask.objective.ttft_s, ask.objective.tpot_s)),
            )
            self._configure(door)
            door.brownout.hold(*self._floor)
        return door

    def hold_brownout(self, steps: int, until: float) -> None:
        """Have at least so many steps of every model's ladder hold until then, by the clock of `now`."""
        self._floor = (steps, until)
        for model in self._models.values():
            model.brownout.hold(steps, until)

    def brownout(self, model: str, now: float) -> Brownout:
        """Return the model's ladder, as of `now`."""
        ladder = self.model(model).brownout
        ladder.advance(now)
        return ladder

    def likely_output(self, model: str, tenant_id: str, max_tokens: int) -> int:
        """Return how many tokens an answer of the tenant probably gets."""
        return self.model(model).lengths.likely(tenant_id, max_tokens)

    def precheck(
        self,
        ask: Ask,
        load: ModelLoad,
        now: float,
        *,
        most_prompt_tokens: int | None = None,
        confirmed_soon: bool = False,
    ) -> Refused | None:
        """Return the refusal of what cannot be served in time even by lower bounds; None: go on.

        `most_prompt_tokens` is an upper bound, such as the body's bytes: a long prompt is allowed to take as long as
        it takes alone. `confirmed_soon`: all that comes before `confirm` costs less than a prediction, so that is left
        to it. A request that goes on ends with `confirm` or `left`.
        """
        refused = self.model(ask.model).precheck(ask, load, now, most_prompt_tokens, confirmed_soon=confirmed_soon)
        if refused is None:
            self._model_of[ask.request_id] = ask.model
        return refused

    def confirm(self, ask: Ask, load: ModelLoad, now: float) -> Prediction | Refused:
        """Decide; an admitted request ends with `finished` or `left`. Raises ValueError if it was admitted already."""
        verdict = self.model(ask.model).confirm(ask, load, now)
        if isinstance(verdict, Refused):
            self._model_of.pop(ask.request_id, None)
        else:
            self._model_of[ask.request_id] = ask.model
        return verdict

    def dispatched(self, request_id: str, now: float, engine_id: str | None = None) -> None:
        """An engine has it."""
        model = self._model_of.get(request_id)
        if model is not None:
            self._models[model].dispatched(request_id, now, engine_id)

    def first_token(self, request_id: str, now: float) -> None:
        """The first token of the first of its sequences came."""
        model = self._model_of.get(request_id)
        if model is not None:
            self._models[model].first_token(request_id, now)

    def finished(self, request_id: str, now: float, output_tokens: int) -> None:
        """It is complete, with so many tokens in all."""
        model = self._model_of.pop(request_id, None)
        if model is not None:
            self._models[model].finished(request_id, now, output_tokens)

    def left(self, request_id: str, now: float) -> None:
        """It ended otherwise: refused later on, failed, or its client has gone. Idempotent."""
        model = self._model_of.pop(request_id, None)
        if model is not None:
            self._models[model].left(request_id, now)

    def lagged(self, late_s: float) -> None:
        """Note how late the event loop was: a tenth of the tightest objective is too much."""
        tightest_s = min((tier.ttft_s for tier in self._settings.tiers.values()), default=1.0)
        for model in self._models.values():
            model.dagor.lagged(late_s / (0.1 * tightest_s))

    def facts(self, now: float) -> Mapping[str, Mapping[str, float]]:
        """Return numbers by model, for metrics."""
        return {name: model.facts(now) for name, model in self._models.items()}


def _names_of(tiers: Mapping[str, TierSettings]) -> dict[tuple[float, float], str]:
    """Return tiers by objective, of the bulk band, too; of two with the same one, the first."""
    names: dict[tuple[float, float], str] = {}
    for name, tier in tiers.items():
        names.setdefault((tier.ttft_s, tier.tpot_s), name)
        names.setdefault((tier.bulk_ttft_s, tier.tpot_s), name)
    return names
