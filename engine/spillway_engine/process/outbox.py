"""What leaves on output channels: numbered frames, one for each client and step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from spillway_wire.channel import Connection
from spillway_wire.codec import FrameEncoder, FrameTooLargeError
from spillway_wire.messages import Channel, Delta, Load, Rejected, StepOutput, ToEngine
from spillway_wire.outcomes import Outcome
from spillway_wire.page import Counter

Wire = Connection[ToEngine]

FrameHook = Callable[[int, str, bytes], bytes | None]
"""Sees (step, client, frame) of every step's output before it is sent; None drops it. For injected faults."""


class StepTimes(Protocol):
    """The part of a step's report that goes into every client's frame: its times, and what they were spent on."""

    @property
    def step(self) -> int:
        """Number of the step, from 1."""

    @property
    def started_ns(self) -> int:
        """CLOCK_MONOTONIC at its start."""

    @property
    def ended_ns(self) -> int:
        """CLOCK_MONOTONIC at its end."""

    @property
    def num_tokens(self) -> int:
        """Tokens computed; 0 if nothing was."""

    @property
    def num_decodes(self) -> int:
        """Those among them that were the one token of a decoding sequence; the others are of prompts."""


class Client:
    """Who talks to this engine: up to three connections under one id."""

    __slots__ = ("channels", "id", "leaves_as", "received", "sequence")

    def __init__(self, client_id: str) -> None:
        self.id = client_id
        self.channels: dict[Channel, Wire] = {}
        self.leaves_as = Outcome.CLIENT_GONE
        """How its requests end when its output channel does."""
        self.sequence = 0
        """Number of the last output frame, sent or lost; starts again with a new output channel."""
        self.received = 0
        """Number of `Submit`s since the output channel opened."""

    def __repr__(self) -> str:
        return f"<Client {self.id} {'+'.join(sorted(self.channels))} sequence={self.sequence}>"


@dataclass(frozen=True, slots=True)
class Unsendable:
    """A delta that fits into no frame, alone."""

    request_id: str
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Unread:
    """The client does not read: the frame was not queued."""


class Outbox:
    """Builds, numbers and queues output frames."""

    def __init__(self, encoder: FrameEncoder, counters: list[int], frame_hook: FrameHook | None) -> None:
        self._encoder = encoder
        self._counters = counters
        self._frame_hook = frame_hook

    def send_step(
        self, client: Client, report: StepTimes, load: Load, deltas: Sequence[Delta]
    ) -> Iterator[Unsendable | Unread]:
        """Queue what a step produced for `client`, in one frame wherever it fits; yield what did not go well."""
        output = StepOutput(
            sequence=client.sequence + 1,
            step=report.step,
            started_ns=report.started_ns,
            ended_ns=report.ended_ns,
            load=load,
            deltas=tuple(deltas),
            received=client.received,
            prefill_tokens=report.num_tokens - report.num_decodes,
            decode_rows=report.num_decodes,
        )
        try:
            frame: bytes | None = self._encoder.encode(output)
        except FrameTooLargeError as error:
            if len(deltas) == 1:
                yield Unsendable(deltas[0].request_id, deltas[0].attempt, f"the answer fits into no frame: {error}")
                return
            middle = len(deltas) // 2  # prompt logprobs of many requests at once: each alone may fit
            yield from self.send_step(client, report, load, deltas[:middle])
            yield from self.send_step(client, report, load, deltas[middle:])
            return
        if self._frame_hook is not None and frame is not None:
            frame = self._frame_hook(report.step, client.id, frame)
        if not self._queue(client, frame):
            yield Unread()

    def reject(self, client: Client, request_id: str, attempt: int, outcome: Outcome, message: str) -> bool:
        """Queue a `Rejected`; False if the client does not read."""
        rejected = Rejected(
            sequence=client.sequence + 1, request_id=request_id, attempt=attempt, outcome=outcome, message=message
        )
        return self._queue(client, self._encoder.encode(rejected))

    def _queue(self, client: Client, frame: bytes | None) -> bool:
        wire = client.channels.get(Channel.OUTPUT)
        if wire is None:
            return True
        client.sequence += 1
        self._counters[Counter.OUTPUT_FRAMES] += 1
        return frame is None or wire.send_frame(frame)
