"""The engine's side of its clients: who is connected with which channels, and what they may say on them.

No client can block the loop or another client: what one does not read is bounded, then it is cut off with all its
requests. What happens to a client's requests and channels::

    event                                   its requests     its channels
    output channel ends                     aborted          request channel closed
    output unread beyond the bound          aborted          all closed, counted as slow reader
    control unread beyond the bound         go on            control closed
    request or control channel ends         go on            the others stay
    submit, backlog: no output channel      refused          request channel closed, with the reason
    backlog                                 -                credits, before the next step
    no or wrong hello, wrong version        -                that connection closed, with the reason
    malformed frame                         go on            stay; counted, logged (rate limited), dropped
    frame above the bound                   as if it ended   that connection closed: its framing is lost
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from spillway_engine.process.credits import Credits, window_of
from spillway_engine.process.outbox import Client, FrameHook, Outbox, StepTimes, Unsendable, Wire
from spillway_wire.address import Address
from spillway_wire.channel import MAX_UNSENT_BYTES, Connection, close_all, listen
from spillway_wire.codec import FrameEncoder, Malformed
from spillway_wire.messages import (
    PROTOCOL_VERSION,
    Abort,
    Backlog,
    Beat,
    Channel,
    Credit,
    Delta,
    Drain,
    Goodbye,
    Hello,
    Inject,
    Injected,
    LastWords,
    Load,
    Ready,
    SnapshotReply,
    SnapshotRequest,
    Stop,
    Submit,
    ToEngine,
    Welcome,
)
from spillway_wire.oplog import RateLimited
from spillway_wire.outcomes import Outcome
from spillway_wire.page import Counter

HELLO_TIMEOUT_S = 5.0
MAX_CLIENT_ID = 128

ALLOWED: dict[Channel, tuple[type, ...]] = {
    Channel.REQUEST: (Submit, Abort, Backlog),
    Channel.OUTPUT: (),
    Channel.CONTROL: (Drain, Stop, Inject, SnapshotRequest),
}
"""What a client may say on a channel after its hello."""


class Desk(Protocol):
    """What the channels ask of the step loop; each returns at once."""

    def submit(self, client_id: str, message: Submit) -> None:
        """Queue a request or reject it."""

    def abort(self, client_id: str, message: Abort) -> None:
        """Forget one attempt."""

    def client_gone(self, client_id: str, outcome: Outcome) -> None:
        """Forget all of a client's requests: it went away, or did not read."""

    def credits_wanted(self) -> None:
        """Grant credits before the next step, also if there is nothing else to do."""

    def load(self) -> Load:
        """Return the load now."""

    def drain(self) -> None:
        """Take nothing new and end when everything known is finished."""

    def stop(self) -> None:
        """End now."""

    def inject(self, message: Inject) -> Injected:
        """Arm a fault."""

    def snapshot(self) -> dict[str, Any]:
        """Describe the engine."""


class Channels:
    """All connections of one engine."""

    def __init__(
        self,
        desk: Desk,
        welcome: Welcome,
        *,
        warmup_s: float,
        counters: list[int],
        log: Callable[..., None],
        clock_ns: Callable[[], int],
        hello_timeout_s: float = HELLO_TIMEOUT_S,
        max_unsent_bytes: int = MAX_UNSENT_BYTES,
        frame_hook: FrameHook | None = None,
    ) -> None:
        self._desk = desk
        self._welcome = welcome
        self._ready = Ready(incarnation=welcome.incarnation, warmup_s=warmup_s)
        self._counters = counters
        self._log = log
        self._log_malformed = RateLimited(log, "malformed_frame", clock_ns)
        self._log_refused = RateLimited(log, "refused_connection", clock_ns)
        self._hello_timeout_s = hello_timeout_s
        self._max_unsent_bytes = max_unsent_bytes
        self._encoder = FrameEncoder()
        self._outbox = Outbox(self._encoder, counters, frame_hook)
        self._credits = Credits(window_of(welcome.capacity.max_num_seqs))
        self._server: asyncio.Server | None = None
        self._waiting: dict[Wire, asyncio.TimerHandle] = {}
        """Connections that have not said hello, with the end of our patience."""
        self._greeted: dict[Wire, tuple[Client, Channel]] = {}
        self._last_beat = 0, clock_ns()
        self.clients: dict[str, Client] = {}

    # ---- life ----

    async def open(self, address: Address) -> Address:
        """Listen; return the address with its real port."""
        self._server, bound = await listen(address, self._make_connection)
        return bound

    async def close(self, words: LastWords, timeout_s: float) -> None:
        """Say the last words on control and goodbye on the rest, send what is queued for at most `timeout_s`, close."""
        if self._server is not None:
            self._server.close()
        for wire, (_, channel) in list(self._greeted.items()):
            wire.send(words if channel is Channel.CONTROL else Goodbye(reason=f"{words.cause}: {words.message}"))
        await close_all([*self._waiting, *self._greeted], words.cause, timeout_s)

    def _make_connection(self) -> Wire:
        return Connection(
            ToEngine,
            self._encoder,
            on_open=self._opened,
            on_message=self._received,
            on_closed=self._closed,
            max_unsent_bytes=self._max_unsent_bytes,
        )

    # ---- arriving ----

    def _opened(self, wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        reason = f"no hello within {self._hello_timeout_s:g} s"
        self._waiting[wire] = loop.call_later(self._hello_timeout_s, self._refuse, wire, reason)

    def _received(self, wire: Wire, message: ToEngine | Malformed) -> None:
        if isinstance(message, Malformed):
            self._malformed(wire, message.reason)
            return
        known = self._greeted.get(wire)
        if known is None:
            self._greet(wire, message)
            return
        client, channel = known
        if not isinstance(message, ALLOWED[channel]):
            self._malformed(wire, f"{type(message).__name__} on the {channel} channel")
        elif channel is Channel.REQUEST:
            self._request(client, wire, message)
        else:
            self._control(client, wire, message)

    def _request(self, client: Client, wire: Wire, message: ToEngine) -> None:
        if isinstance(message, Abort):
            self._desk.abort(client.id, message)
        elif Channel.OUTPUT not in client.channels:
            self._refuse(wire, "submit before the output channel is open: its answer could not be sent")
        elif isinstance(message, Submit):
            client.received += 1
            if message.attempt == 1:
                self._credits.spend(client.id)
            self._desk.submit(client.id, message)
        elif isinstance(message, Backlog):
            self._credits.hear(client.id, message.waiting, message.returned)
            self._desk.credits_wanted()

    def _control(self, client: Client, wire: Wire, message: ToEngine) -> None:
        match message:
            case Drain():
                self._log("drain", asked_by=client.id)
                self._desk.drain()
            case Stop():
                self._log("stop", asked_by=client.id)
                self._desk.stop()
            case Inject():
                self._send_control(wire, self._desk.inject(message))
            case SnapshotRequest():
                self._send_control(wire, SnapshotReply(token=message.token, snapshot=self._desk.snapshot()))

    def _greet(self, wire: Wire, hello: ToEngine) -> None:
        problem = self._problem(hello)
        if problem is not None:
            self._refuse(wire, problem)
            return
        assert isinstance(hello, Hello)  # noqa: S101 - `_problem` has seen to it
        self._waiting.pop(wire).cancel()
        client = self.clients.setdefault(hello.client_id, Client(hello.client_id))
        client.channels[hello.channel] = wire
        self._greeted[wire] = client, hello.channel
        wire.send(self._welcome)
        if hello.channel is Channel.CONTROL:
            wire.send(self._ready)
            self._beat(client, wire)
        elif hello.channel is Channel.OUTPUT:
            client.sequence = client.received = 0
            wire.send(Credit(total=self._credits.join(client.id)))

    def _problem(self, hello: ToEngine) -> str | None:
        if not isinstance(hello, Hello):
            return f"{type(hello).__name__} before Hello"
        if hello.protocol_version != PROTOCOL_VERSION:
            return f"protocol version {hello.protocol_version}; this engine speaks {PROTOCOL_VERSION}"
        if not 0 < len(hello.client_id) <= MAX_CLIENT_ID:
            return f"client_id has {len(hello.client_id)} characters; it must have 1 to {MAX_CLIENT_ID}"
        client = self.clients.get(hello.client_id)
        if client is not None and hello.channel in client.channels:
            return f"client {hello.client_id!r} has its {hello.channel} channel open already"
        return None

    def _malformed(self, wire: Wire, reason: str) -> None:
        self._counters[Counter.MALFORMED_FRAMES] += 1
        client, channel = self._greeted.get(wire, (None, None))
        self._log_malformed(client=client and client.id, channel=channel, reason=reason)

    # ---- leaving ----

    def _refuse(self, wire: Wire, reason: str) -> None:
        self._log_refused(reason=reason)
        wire.send(Goodbye(reason=reason))
        wire.close(reason)

    def _closed(self, wire: Wire, reason: str) -> None:
        if wire in self._waiting:
            self._waiting.pop(wire).cancel()
        known = self._greeted.pop(wire, None)
        if known is None:
            return
        client, channel = known
        del client.channels[channel]
        if not client.channels:
            del self.clients[client.id]
        if channel is Channel.OUTPUT:
            self._credits.leave(client.id)
            self._desk.credits_wanted()
            self._desk.client_gone(client.id, client.leaves_as)
            request = client.channels.get(Channel.REQUEST)
            if request is not None and request.is_open:
                self._refuse(request, f"the output channel is gone: {reason}")

    def _cut(self, client: Client) -> None:
        """End a client that does not read its output; `_closed` ends its requests."""
        client.leaves_as = Outcome.SLOW_READER
        self._counters[Counter.CLIENTS_TOO_SLOW] += 1
        reason = f"{Outcome.SLOW_READER}: more than {self._max_unsent_bytes} bytes of output were left unread"
        self._log("slow_reader", client=client.id, bound=self._max_unsent_bytes)
        for channel, wire in list(client.channels.items()):
            if channel is Channel.OUTPUT:
                wire.abort(reason)  # a goodbye would only stand behind what is not read
            else:
                self._refuse(wire, reason)

    # ---- sending ----

    @property
    def readers(self) -> list[str]:
        """The clients that hear of every step: those with an output channel."""
        return [client.id for client in self.clients.values() if Channel.OUTPUT in client.channels]

    def send_step(self, client_id: str, report: StepTimes, load: Load, deltas: Sequence[Delta]) -> None:
        """Send what a step produced for one client; one that is gone is passed over."""
        client = self.clients.get(client_id)
        if client is None:
            return
        for outcome in self._outbox.send_step(client, report, load, deltas):
            if isinstance(outcome, Unsendable):
                self._desk.abort(client_id, Abort(request_id=outcome.request_id, attempt=outcome.attempt))
                self.reject(client_id, outcome.request_id, outcome.attempt, Outcome.TOO_LARGE, outcome.reason)
            else:
                self._cut(client)

    def reject(self, client_id: str, request_id: str, attempt: int, outcome: Outcome, message: str) -> None:
        """Tell a client that this attempt will not be served."""
        client = self.clients.get(client_id)
        if client is not None and not self._outbox.reject(client, request_id, attempt, outcome, message):
            self._cut(client)

    def send_credits(self, in_hand: int) -> None:
        """Grant what the engine, with `in_hand` requests known to it, can take."""
        for client_id, total in self._credits.grant(in_hand).items():
            wire = self.clients[client_id].channels[Channel.OUTPUT]
            wire.send(Credit(total=total))  # unread and lost, it is in the next beat

    def check_integrity(self) -> None:
        """Raise `IntegrityError` if the clients' credits do not add up."""
        self._credits.check_integrity()

    def beat(self, step: int, now_ns: int) -> None:
        """Tell every client how far the loop is, which of its output frames was the last, load and credits."""
        self._last_beat = step, now_ns
        for client in list(self.clients.values()):
            wire = client.channels.get(Channel.CONTROL)
            if wire is not None:
                self._beat(client, wire)

    def _beat(self, client: Client, wire: Wire) -> None:
        step, at_ns = self._last_beat
        self._send_control(
            wire,
            Beat(
                step=step,
                output_sequence=client.sequence,
                at_ns=at_ns,
                load=self._desk.load(),
                received=client.received,
                credit=self._credits.total(client.id),
            ),
        )

    def _send_control(self, wire: Wire, message: msgspec.Struct) -> None:
        if not wire.send(message):
            self._log("slow_control", client=self._greeted[wire][0].id)
            wire.abort("control frames were left unread")
