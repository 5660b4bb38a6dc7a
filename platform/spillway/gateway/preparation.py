"""All that comes before the engines' part: which model, what it is to generate, and whether there is room for it.

::

    plan ─▶ brownout ─▶ load, by lower bounds ─▶ tokenize ─▶ route ─▶ quota ─▶ load, exactly ─▶ Answer

Nothing is waited for between the last word on load and the moment when the answer is submitted.
"""

from typing import Final

from spillway.admission.visitor import Visitor
from spillway.gateway.answering import Answer
from spillway.gateway.endpoints.table import Endpoint
from spillway.gateway.gateway import Gateway
from spillway.gateway.interrupt import Interruptible
from spillway.gateway.models import Model
from spillway.gateway.plan import Head, Plan
from spillway.gateway.problems import invalid
from spillway.gateway.reply import VISIT, Scope, Visit
from spillway.gateway.routes import Asked, route
from spillway.gateway.sampling import tier_of
from spillway.gateway.schema import SamplingFields
from spillway.gateway.softening import softened
from spillway.gateway.tokens import plan_params, prompt_tokens
from spillway.pool.contract import Work
from spillway.telemetry.tracing.recorder import RequestTrace

_RETRY_COUNT: Final = b"x-stainless-retry-count"
_MOST_RETRIES: Final = 1000


class Preparation:
    """Of one request."""

    def __init__(
        self, gateway: Gateway, endpoint: Endpoint, scope: Scope, visitor: Visitor, interruptible: Interruptible
    ) -> None:
        self._gateway, self._endpoint, self._scope, self._visitor = gateway, endpoint, scope, visitor
        self._interruptible = interruptible

    async def answer(self, request: SamplingFields, deadline: float, num_bytes: int, trace: RequestTrace) -> Answer:
        """Return the answer to be, which has to be submitted at once. Raises `Problem` or `Refused`.

        `num_bytes`: of the body; no tokenizer makes more tokens than that.
        """
        gateway, settings, visitor = self._gateway, self._gateway.settings, self._visitor
        visit: Visit = self._scope[VISIT]
        _check_stream(request)
        tier = tier_of(request)
        plan, prompts = await self._plan(request, tier, deadline, num_bytes)
        request, model = plan.request, plan.model
        state = gateway.model_state(model)
        ids = [visit.request_id] if len(prompts) == 1 else [f"{visit.request_id}-{i}" for i in range(len(prompts))]
        all_params = plan_params(
            plan,
            prompts,
            settings.generation,
            ids,
            max_model_len=state.max_model_len if state is not None else None,
            vocab_size=(state.vocab_size if state is not None else None) or model.text.vocab_size,
        )
        choices = request.n or 1
        await visitor.admit(
            model.name,
            ids,
            prompts=prompts,
            max_tokens=[params.max_tokens or 0 for params in all_params],
            choices=choices,
            deadline=deadline,
        )
        ttft_due = gateway.clock() + visitor.ttft_due_s
        works = [
            Work(
                request_id=request_id,
                model=model.name,
                prompt_token_ids=prompt,
                params=params,
                num_choices=choices,
                priority=request.priority or 0,
                band=visitor.band,
                tenant_id=visitor.caller.tenant.id,
                weight=visitor.weight,
                tpot_s=visitor.objective.tpot_s,
                ttft_due=ttft_due,
                deadline=deadline,
                cache_salt=visitor.salt(request.cache_salt or ""),
            )
            for request_id, prompt, params in zip(ids, prompts, all_params, strict=True)
        ]
        head = Head(visit.request_id, int(gateway.wall()), model, tier)
        return Answer(
            gateway,
            plan,
            works,
            form=plan.form(head, prompts),
            exactness=state.exactness if state is not None else None,
            visitor=visitor,
            trace=trace,
            interruptible=self._interruptible,
        )

    async def _plan(
        self, request: SamplingFields, tier: str, deadline: float, num_bytes: int
    ) -> tuple[Plan, list[list[int]]]:
        """Choose the model that serves, and plan for it.

        The model that the request names counts the tokens that rules may ask for, so it must accept the prompt, too;
        they are counted again only for a model of another folder, whose tokenizer may differ.
        """
        gateway, settings = self._gateway, self._gateway.settings
        name = getattr(request, "model", None)
        model = gateway.model(name)
        self._visitor.choose(model.name, tier)
        plan = self._soft_plan(request, model)
        if not settings.routes:
            sequences = (plan.request.n or 1) * len(getattr(request, "prompts", ("",)))
            self._visitor.precheck(sequences=sequences, deadline=deadline, most_prompt_tokens=num_bytes)
        context = gateway.longest_context(gateway.models if settings.routes else (model,))
        prompts = await prompt_tokens(plan, context)
        if not settings.routes:
            return plan, prompts
        asked = Asked(
            named=name or model.name,
            model=model.name,
            tenant=self._visitor.caller.tenant.id,
            tier=tier,
            priority=request.priority or 0,
            prompt_tokens=max(map(len, prompts)),
            headers=self._scope["headers"],
        )
        to = route(settings.routes, asked)
        if to == model.name:
            return plan, prompts
        chosen = self._endpoint.plan(plan.request, gateway.model(to), settings.generation)
        if chosen.model.path == model.path:
            return chosen, prompts
        return chosen, await prompt_tokens(chosen, gateway.longest_context((chosen.model,)))

    def _soft_plan(self, request: SamplingFields, model: Model) -> Plan:
        generation = self._gateway.settings.generation
        plan = self._endpoint.plan(request, model, generation)
        if not self._visitor.is_brownout:
            return plan
        less = softened(plan, self._visitor)
        return plan if less is None else self._endpoint.plan(less, model, generation)


def retry_count(scope: Scope) -> int:
    """Return how often the client has tried before, as OpenAI's clients say; 0 for one that says nothing."""
    for name, value in scope["headers"]:
        if name == _RETRY_COUNT and value[:5].isdigit():
            return min(_MOST_RETRIES, int(value[:5]))
    return 0


def _check_stream(request: SamplingFields) -> None:
    options = request.stream_options
    if options is None:
        return
    if not request.stream:
        raise invalid("'stream_options' needs 'stream' to be true", "stream_options", code="invalid_value")
    if options.include_obfuscation:
        raise invalid(
            "'stream_options.include_obfuscation' is not supported by this server",
            "stream_options.include_obfuscation",
            code="unsupported_parameter",
        )
