"""One request to an endpoint that generates, from its first byte to its one outcome.

The handler returns this as the ASGI application that answers. While the answer is made, the client is watched: when
it leaves, whatever is waited for is interrupted and the engines forget the request. The phases, and what a sudden end
in each leaves behind (nothing, but for the outcome in the tally)::

    who asks → read the body → decode → prepare → submit → first token → … → last token → sent
"""

import asyncio
import traceback
from collections.abc import Callable
from typing import Any, Final

from spillway.gateway.answering import Answer
from spillway.gateway.arrival import Arrival
from spillway.gateway.asked import messages_of
from spillway.gateway.body import Reader, read_body
from spillway.gateway.ending import tell
from spillway.gateway.endpoints.table import Endpoint
from spillway.gateway.gateway import Gateway
from spillway.gateway.interrupt import Due, Interruptible
from spillway.gateway.patience import patience
from spillway.gateway.preparation import Preparation, retry_count
from spillway.gateway.problems import Problem, body, headers
from spillway.gateway.reply import ABORT, JSON, LEAVING, VISIT, Receive, Reply, Scope, Send, Visit
from spillway.gateway.schema import SamplingFields
from spillway.pool.contract import Refused
from spillway.telemetry.tracing.contents import Contents
from spillway.telemetry.tracing.recorder import RequestTrace
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
        client = (scope["client"] or ("",))[0]
        trace = self._gateway.tracing.begin(
            scope["headers"],
            endpoint=self._endpoint.name,
            request_id=visit.request_id,
            began=visit.began,
            client=client,
        )
        visit.headers = trace.answer_headers()
        problem: Problem | None = None
        with Arrival(self._gateway.tally) as arrival:
            try:
                await self._serve(scope, receive, visit, reply, trace)
                arrival.settle(Outcome.COMPLETED)
            except (Problem, Refused) as refused:
                problem = refused if isinstance(refused, Problem) else Problem.of(refused)
                arrival.settle(problem.outcome)
                await self._fail(scope, reply, problem)
            except Exception as error:  # noqa: BLE001 - the last resort: a fault of ours is an answer too
                arrival.settle(Outcome.INTERNAL)
                self._gateway.log("request_failed", request_id=visit.request_id, traceback=_trace(error))
                problem = Problem(Outcome.INTERNAL, "the server met an error of its own")
                await self._fail(scope, reply, problem)
            finally:
                tell(self._gateway, self._endpoint, visit, trace, arrival, reply=reply, problem=problem)

    async def _serve(self, scope: Scope, receive: Receive, visit: Visit, reply: Reply, trace: RequestTrace) -> None:
        gateway, limits = self._gateway, self._gateway.settings.limits
        async with Interruptible() as work:
            with gateway.opened(work):
                gateway.check_taking_work()
                caller = await gateway.admission.identify(scope["headers"])
                visitor = gateway.admission.visitor(
                    caller, self._endpoint.kind, visit.request_id, retry=retry_count(scope)
                )
                trace.identified(visitor)
                visitor.headers.extend(visit.headers)
                visit.headers = visitor.headers
                patient = patience(scope["headers"], at_most_s=limits.request_timeout_s)
                with (
                    visitor,
                    self._due(patient.whole_s, visit, work),
                    self._due(patient.first_byte_s, visit, work) as first,
                ):
                    raw = await read_body(
                        receive, scope["headers"], max_bytes=limits.max_body_bytes, patience_s=limits.slow_reader_s
                    )
                    if raw is None:
                        raise client_gone()
                    forget = watch(scope, receive, work)
                    try:
                        request = self._reader(raw)
                        if trace.wants_contents():
                            trace.contents = Contents(messages_of(request))
                        preparation = Preparation(gateway, self._endpoint, scope, visitor, work)
                        answer = await preparation.answer(request, visit.began + patient.whole_s, len(raw), trace)
                        trace.admitted(stream=bool(request.stream), predicted_ttft_s=visitor.predicted_ttft_s)
                        await self._send(
                            answer, request, reply, visit, patience_s=patient.whole_s, on_begin=first.cancel
                        )
                    except BaseException as error:
                        visitor.outcome = outcome_of(error, work)
                        raise
                    else:
                        visitor.outcome = Outcome.COMPLETED
                    finally:
                        forget()

    def _due(self, patience_s: float | None, visit: Visit, work: Interruptible) -> Due:
        """Interrupt the work when so much time has passed since the request was heard of; None: never."""
        if patience_s is None:
            return Due(None, _nothing)
        return Due(patience_s - visit.elapsed_s, lambda: work.interrupt(self._expired(patience_s, visit, None)))

    def _expired(self, patience_s: float, visit: Visit, retry_after_s: float | None) -> Problem:
        return expired(patience_s, visit.elapsed_s, retry_after_s or self._gateway.pool.retry_after_s())

    async def _send(
        self,
        answer: Answer,
        request: SamplingFields,
        reply: Reply,
        visit: Visit,
        *,
        patience_s: float,
        on_begin: Callable[[], None],
    ) -> None:
        try:
            if request.stream:
                await answer.stream(reply, on_begin=on_begin)
            else:
                await answer.whole(reply)
        except Refused as refused:
            if refused.outcome is Outcome.EXPIRED:  # pool and engines know the deadline, too: all say it as we do
                raise self._expired(patience_s, visit, refused.retry_after_s) from refused
            raise

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


def watch(scope: Scope, receive: Receive, work: Interruptible) -> Callable[[], object]:
    """Interrupt the work when the client leaves; a plain handler would not hear of it. Call what is returned to end it.

    Our own server tells of it; with another one a task waits for its word.
    """
    mind: Callable[[Callable[[], None] | None], None] | None = scope.get(LEAVING)
    if mind is None:
        return asyncio.create_task(_wait_for_leaving(receive, work), name="watch a client").cancel
    mind(lambda: work.interrupt(client_gone()))
    return lambda: mind(None)


async def _wait_for_leaving(receive: Receive, work: Interruptible) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    work.interrupt(client_gone())


def outcome_of(error: BaseException, work: Interruptible) -> Outcome:
    """Return how a request ends that ends with `error`, which may be its interruption."""
    if isinstance(error, Problem | Refused):
        return error.outcome
    return Outcome.INTERNAL if work.problem is None else work.problem.outcome


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


def _trace(error: BaseException) -> str:
    """Return where an error came from, and its type; its message is left out, for it may quote a prompt."""
    frames = traceback.format_list(traceback.extract_tb(error.__traceback__))
    return "".join([*frames, type(error).__name__])


def _nothing() -> None:
    """Do nothing: no timer waits for the first byte."""
