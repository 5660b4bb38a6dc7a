"""One request on its way through admission, and the one end of all that it reserved."""

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from spillway.admission import headers, quota
from spillway.admission.contract import NO_LIMITS, Ask, Band, Caller, Claim, Denial, Kind, Objective, Scope
from spillway.admission.identity.identify import check_band, check_model
from spillway.admission.shedding.brownout import Degraded, Wish
from spillway.pool.contract import Refused
from spillway_wire.outcomes import Outcome

if TYPE_CHECKING:
    from spillway.admission.admission import Admission

BANDS: Final = {"priority": Band.INTERACTIVE, "flex": Band.BULK}
"""What a request's service tier asks for; every other one gets its tenant's default."""
_HOPELESS: Final = 5.0
"""A request that waited this many times its objective is not worth serving any more, unless an engine was away."""
_CHEAP_TOKENS: Final = 1024
"""A prompt of so many bytes is tokenized as fast as a prediction is made."""
_DEGRADED: Final = (b"x-spillway-limiter", b"degraded")


class Visitor:
    """`with` it. What it learns on its way stands in `headers`, for whatever the answer is."""

    def __init__(self, admission: "Admission", caller: Caller, kind: Kind, request_id: str, *, retry: int) -> None:
        self._admission, self.caller, self._kind, self._retry = admission, caller, kind, retry
        self.request_id = request_id
        self.headers: list[headers.Header] = []
        self.model = ""
        self.band = caller.tenant.default_band
        self.objective = _objective(admission, caller, self.band)
        self.outcome: Outcome | None = None
        """Whoever knows how it ended says so before the end; None: badly."""
        self.prompt_tokens = self.output_tokens = 0
        """Used so far; whoever counts them says so."""
        self.count_output: Callable[[], int] = _none
        """Counts output that whoever counts has not seen yet."""
        self.cached_tokens: int | None = None
        self.predicted_ttft_s: float | None = None
        """What the door expected, once it has let it in."""
        self._work_ids: list[str] = []
        self._is_claimed = self._is_asked = self._is_confirmed = False

    @property
    def weight(self) -> float:
        """The tenant's share of its band."""
        return self.caller.tenant.weight

    @property
    def used_tokens(self) -> int:
        """Prompt and output."""
        return self.prompt_tokens + max(self.output_tokens, self.count_output())

    @property
    def ttft_due_s(self) -> float:
        """Seconds after which a first token is worth nothing any more."""
        return max(self._admission.settings.limits.engine_wait_s, _HOPELESS * self.objective.ttft_s)

    def salt(self, own: str) -> str:
        """Return what separates its prompts in engines' caches: tenants do not learn what others asked."""
        return own if self.caller.is_anonymous else f"{self.caller.tenant.id}\0{own}"

    # ---- the way in ----

    def choose(self, model: str, service_tier: str) -> None:
        """Note what it asks for. Raises `Refused` for what its tenant may not use."""
        check_model(self.caller, model)
        self.model = model
        self.band = BANDS.get(service_tier, self.caller.tenant.default_band)
        if service_tier in BANDS:
            check_band(self.caller, self.band)
        self.objective = _objective(self._admission, self.caller, self.band)

    @property
    def is_brownout(self) -> bool:
        """Whether some get less than they wish, at this moment."""
        return self._admission.door.brownout(self.model, self._admission.clock()).level > 0

    def degrade(self, wish: Wish) -> Degraded:
        """Return what it gets of its wish at the brownout of this moment, and tell in the headers."""
        admission = self._admission
        degraded = admission.door.brownout(self.model, admission.clock()).apply(
            wish, self.caller.tenant.tier, self.band
        )
        told = headers.brownout_header(degraded.steps)
        if told is not None:
            self.headers.append(told)
        return degraded

    def precheck(self, *, sequences: int, deadline: float | None, most_prompt_tokens: int) -> None:
        """Refuse what has no chance, before it costs anything. `most_prompt_tokens`: bytes are an upper bound.

        Raises `Refused`.
        """
        admission = self._admission
        load = admission.load(self.model)
        if load is None:
            return
        ask = self._ask(sequences=sequences, deadline=deadline)
        refused = admission.door.precheck(
            ask,
            load,
            admission.clock(),
            most_prompt_tokens=most_prompt_tokens,
            confirmed_soon=most_prompt_tokens <= _CHEAP_TOKENS and not self._has_quota,
        )
        if refused is not None:
            raise refused
        self._is_asked = True

    async def admit(
        self,
        model: str,
        work_ids: list[str],
        *,
        prompts: Sequence[Sequence[int]],
        max_tokens: Sequence[int],
        choices: int,
        deadline: float | None,
    ) -> None:
        """Reserve quota, then have the load confirmed; what it admits is to be submitted at once.

        Raises `Refused`: nothing stays reserved then.
        """
        admission = self._admission
        if model != self.model:
            self._leave_door()
            self.model = model
        tenant_id = self.caller.tenant.id
        prompt_tokens = sum(map(len, prompts))
        output_tokens = choices * sum(admission.door.likely_output(model, tenant_id, most) for most in max_tokens)
        await self._claim(prompt_tokens + output_tokens)
        load = admission.load(model)
        if load is not None:
            ask = self._ask(
                sequences=len(prompts) * choices,
                deadline=deadline,
                prompt_tokens=prompt_tokens,
                output_tokens=output_tokens,
            )
            admission.ears.group(self.request_id, work_ids)
            self._work_ids = work_ids
            verdict = admission.door.confirm(ask, load, admission.clock())
            if isinstance(verdict, Refused):
                self._is_asked = False
                raise verdict
            self._is_asked = self._is_confirmed = True
            self.predicted_ttft_s = verdict.ttft_s
        self.prompt_tokens = prompt_tokens

    @property
    def _has_quota(self) -> bool:
        return self._admission.ledger is not None and self.caller.tenant.limited

    async def _claim(self, tokens: int) -> None:
        admission, tenant = self._admission, self.caller.tenant
        if admission.ledger is None or not self._has_quota:
            return
        scopes = tuple(self._scopes())
        if not scopes:
            return
        claim = Claim(request_id=self.request_id, tenant_id=tenant.id, scopes=scopes, tokens=tokens)
        self._is_claimed = True  # from here on it may be: a claim whose answer was not waited for is settled, too
        decision = await admission.ledger.acquire(claim)
        self.headers.extend(headers.standing_headers(decision.standing))
        if decision.degraded:
            self.headers.append(_DEGRADED)
        if isinstance(decision, Denial):
            self._is_claimed = False
            raise quota.refused(decision)
        admission.open.add(self)

    def _scopes(self) -> Iterator[Scope]:
        tenant, usage = self.caller.tenant, self._admission.usage
        for account, kind, limits in (
            (tenant.id, None, tenant.limits),
            (f"{tenant.id}/{self._kind.value}", self._kind, tenant.limits_by_kind.get(self._kind, NO_LIMITS)),
        ):
            if limits.any:
                used_today = 0 if usage is None else usage.day_tokens(tenant.id, kind)
                yield Scope(account=account, limits=limits, used_today=used_today)

    def _ask(self, *, sequences: int, deadline: float | None, prompt_tokens: int = 0, output_tokens: int = 0) -> Ask:
        return Ask(
            request_id=self.request_id,
            model=self.model,
            tenant_id=self.caller.tenant.id,
            key_id=self.caller.key_id,
            band=self.band,
            weight=self.weight,
            objective=self.objective,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            sequences=sequences,
            deadline=deadline,
            retry=self._retry,
        )

    # ---- the end ----

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        admission, now = self._admission, self._admission.clock()
        admission.ears.ungroup(self._work_ids)
        completed = self.outcome is Outcome.COMPLETED
        if self._is_confirmed and completed:
            self._is_asked = False
            admission.door.finished(self.request_id, now, self.output_tokens)
        self._leave_door()
        served = self._is_confirmed and (completed or self.output_tokens > 0 or self.outcome is Outcome.CLIENT_GONE)
        if self._is_claimed and admission.ledger is not None:
            admission.open.discard(self)
            admission.ledger.settle(self.request_id, self.used_tokens if served else 0, refund_request=not served)
        if served and admission.usage is not None:
            admission.usage.add(
                self.caller.tenant.id, self._kind, self.prompt_tokens, self.output_tokens, admission.wall()
            )

    def _leave_door(self) -> None:
        if self._is_asked:
            self._is_asked = False
            self._admission.door.left(self.request_id, self._admission.clock())


def _none() -> int:
    """Count nothing."""
    return 0


def _objective(admission: "Admission", caller: Caller, band: Band) -> Objective:
    tiers = admission.settings.tiers
    tier = tiers.get(caller.tenant.tier) or next(iter(tiers.values()))
    return Objective(ttft_s=tier.bulk_ttft_s if band is Band.BULK else tier.ttft_s, tpot_s=tier.tpot_s)
