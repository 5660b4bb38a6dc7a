"""One request to an endpoint that generates, from its first byte to its one outcome.

The handler returns this as the ASGI application that answers. While the answer is made, the client is watched: when
it leaves, whatever is waited for is interrupted and the engines forget the request. The phases, and what a sudden end
in each leaves behind (nothing, but for the outcome in the tally)::

    read the body → decode, plan → tokenize → submit → first token → … → last token → sent
"""

import asyncio
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from spillway.gateway.answering import Answer
from spillway.gateway.arrival import Arrival
from spillway.gateway.body import Reader, read_body
from spillway.gateway.endpoints.table import Endpoint
from spillway.gateway.gateway import Gateway
from spillway.gateway.interrupt import Interruptible
from spillway.gateway.patience import patience
from spillway.gateway.plan import Head, Plan
from spillway.gateway.problems import Problem, body, headers, invalid
from spillway.gateway.reply import ABORT, JSON, VISIT, Receive, Reply, Scope, Send, Visit
from spillway.gateway.routes import Asked, route
from spillway.gateway.sampling import priority_of, tier_of
from spillway.gateway.schema import SamplingFields
from spillway.gateway.tokens import plan_params, prompt_tokens
from spillway.pool.contract import Refused, Work
from spillway_wire.outcomes import Outcome

FAREWELL_S: Final = 1.0
"""How long the news of an error may take to leave."""


class Exchange:
    """Answers one request; an ASGI application."""

    def __init__(self, gateway: Gateway, endpoint: Endpoint, reader: Reader[Any]) -> None:
        self._gateway = gateway
        self._endpoint = endpoint
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request. Nothing is raised but the cancellation of this task."""
        visit: Visit = scope[VISIT]
        reply = Reply(visit)
        with Arrival(self._gateway.tally) as arrival:
            try:
                await self._serve(scope, receive, visit, reply)
                arrival.settle(Outcome.COMPLETED)
            except Problem as problem:
                arrival.settle(problem.outcome)
                await self._fail(scope, reply, problem)
            except Refused as refused:
                arrival.settle(refused.outcome)
                await self._fail(scope, reply, Problem.of(refused))
            except Exception as error:  # noqa: BLE001 - the last resort: a fault of ours is an answer too
                arrival.settle(Outcome.INTERNAL)
                self._gateway.log("request_failed", request_id=visit.request_id, traceback=_trace(error))
                await self._fail(scope, reply, Problem(Outcome.INTERNAL, "the server met an error of its own"))
            finally:
                if self._gateway.log_requests:
                    self._gateway.log(
                        "request",
                        request_id=visit.request_id,
                        endpoint=self._endpoint.name,
                        client=(scope["client"] or ("",))[0],
                        outcome=(arrival.outcome or Outcome.GATEWAY_FAILED).value,
                        status=reply.status,
                        seconds=round(visit.elapsed_s, 4),
                    )

    async def _serve(self, scope: Scope, receive: Receive, visit: Visit, reply: Reply) -> None:
        gateway, limits = self._gateway, self._gateway.settings.limits
        async with Interruptible() as work:
            with gateway.opened(work):
                gateway.check_taking_work()
                patient = patience(scope["headers"], at_most_s=limits.request_timeout_s)
                with self._due(patient.whole_s, visit, work), self._due(patient.first_byte_s, visit, work) as first:
                    raw = await read_body(
                        receive, scope["headers"], max_bytes=limits.max_body_bytes, patience_s=limits.slow_reader_s
                    )
                    if raw is None:
                        raise client_gone()
                    watcher = asyncio.create_task(_watch(receive, work), name="watch a client")
                    try:
                        await self._answer(
                            self._reader(raw), scope, work, reply, patience_s=patient.whole_s, on_begin=first
                        )
                    finally:
                        watcher.cancel()

    @contextmanager
    def _due(self, patience_s: float | None, visit: Visit, work: Interruptible) -> Iterator[Callable[[], None]]:
        """Interrupt the work when so much time has passed since the request was heard of; None: never.

        It is called off at the end of the body, or when what is yielded is called.
        """
        if patience_s is None:
            yield _nothing
            return
        timer = asyncio.get_running_loop().call_later(
            patience_s - visit.elapsed_s, lambda: work.interrupt(self._expired(patience_s, visit, None))
        )
        try:
            yield timer.cancel
        finally:
            timer.cancel()

    def _expired(self, patience_s: float, visit: Visit, retry_after_s: float | None) -> Problem:
        return expired(patience_s, visit.elapsed_s, retry_after_s or self._gateway.pool.retry_after_s())

    async def _answer(
        self,
        request: SamplingFields,
        scope: Scope,
        work: Interruptible,
        reply: Reply,
        *,
        patience_s: float,
        on_begin: Callable[[], None],
    ) -> None:
        visit: Visit = scope[VISIT]
        answer = await self._begin(request, scope, work, visit.began + patience_s)
        try:
            if request.stream:
                await answer.stream(reply, on_begin=on_begin)
            else:
                await answer.whole(reply)
        except Refused as refused:
            if refused.outcome is Outcome.EXPIRED:  # pool and engines know the deadline, too: all say it as we do
                raise self._expired(patience_s, visit, refused.retry_after_s) from refused
            raise

    async def _begin(self, request: SamplingFields, scope: Scope, work: Interruptible, deadline: float) -> Answer:
        """Do all that comes before the engines' part."""
        gateway, settings = self._gateway, self._gateway.settings
        visit: Visit = scope[VISIT]
        _check_stream(request)
        tier = tier_of(request)
        plan, prompts = await self._plan(request, scope, tier)
        model = plan.model
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
        head = Head(visit.request_id, int(gateway.wall()), model, tier)
        works = [
            Work(
                request_id=request_id,
                model=model.name,
                prompt_token_ids=prompt,
                params=params,
                num_choices=request.n or 1,
                priority=priority_of(request, tier),
                deadline=deadline,
                cache_salt=request.cache_salt or "",
            )
            for request_id, prompt, params in zip(ids, prompts, all_params, strict=True)
        ]
        exactness = state.exactness if state is not None else None
        return Answer(gateway, plan, works, form=plan.form(head, prompts), exactness=exactness, interruptible=work)

    async def _plan(self, request: SamplingFields, scope: Scope, tier: str) -> tuple[Plan, list[list[int]]]:
        """Choose the model that serves, and plan for it.

        The model that the request names counts the tokens that rules may ask for, so it must accept the prompt, too;
        they are counted again only for a model of another folder, whose tokenizer may differ.
        """
        gateway, settings = self._gateway, self._gateway.settings
        name = getattr(request, "model", None)
        model = gateway.model(name)
        plan = self._endpoint.plan(request, model, settings.generation)
        context = gateway.longest_context(gateway.models if settings.routes else (model,))
        prompts = await prompt_tokens(plan, context)
        if not settings.routes:
            return plan, prompts
        asked = Asked(
            named=name or model.name,
            model=model.name,
            tier=tier,
            priority=request.priority or 0,
            prompt_tokens=max(map(len, prompts)),
            headers=scope["headers"],
        )
        to = route(settings.routes, asked)
        if to == model.name:
            return plan, prompts
        chosen = self._endpoint.plan(request, gateway.model(to), settings.generation)
        if chosen.model.path == model.path:
            return chosen, prompts
        return chosen, await prompt_tokens(chosen, gateway.longest_context((chosen.model,)))

    async def _fail(self, scope: Scope, reply: Reply, problem: Problem) -> None:
        """Tell the client, as far as that is still possible."""
        if problem.outcome is Outcome.SLOW_READER and reply.status is not None:
            abort = scope.get(ABORT)
            if abort is not None:
                abort()
            return
        if problem.outcome is Outcome.CLIENT_GONE or reply.is_complete:
            return
        try:
            async with asyncio.timeout(FAREWELL_S):
                if reply.status is None:
                    await reply.whole(problem.status, [JSON, *headers(problem)], body(problem))
                elif reply.is_stream:
                    await reply.write(b"data: " + body(problem) + b"\n\n", last=True)
        except TimeoutError:
            return  # it does not read: the server closes the connection of an answer that is not complete


async def _watch(receive: Receive, work: Interruptible) -> None:
    """Interrupt the work when the client leaves; a plain handler would not hear of it."""
    while (await receive())["type"] != "http.disconnect":
        pass
    work.interrupt(client_gone())


def client_gone() -> Problem:
    """Return why nobody will read the answer."""
    return Problem(Outcome.CLIENT_GONE, "the client closed the connection")


def expired(patience_s: float, elapsed_s: float, retry_after_s: float) -> Problem:
    """Return why a request that took too long ends."""
    return Problem(
        Outcome.EXPIRED,
        f"the request was not answered within {patience_s:g} s",
        retry_after_s=retry_after_s,
        limit=f"deadline={patience_s:g}s",
        measured=f"{elapsed_s:.1f} s",
    )


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


def _trace(error: BaseException) -> str:
    """Return where an error came from, and its type; its message is left out, for it may quote a prompt."""
    frames = traceback.format_list(traceback.extract_tb(error.__traceback__))
    return "".join([*frames, type(error).__name__])


def _nothing() -> None:
    """Do nothing: no timer waits for the first byte."""
