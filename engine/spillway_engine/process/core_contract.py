"""What a process needs of the core that it drives, and of the loader that made it: here tests put fakes."""

from collections.abc import Callable
from typing import Any, Protocol

from spillway_engine.plan import Runner
from spillway_engine.process.outbox import StepTimes
from spillway_engine.reports import Totals
from spillway_wire.messages import Capacity, Delta, Exactness, Load, Submit
from spillway_wire.outcomes import Outcome


class StepFacts(StepTimes, Protocol):
    """What a step says of itself."""

    @property
    def deltas(self) -> list[tuple[str, Delta]]:
        """What came of it, with the client to whom it belongs."""


class Core(Protocol):
    """What the loop needs of an `EngineCore`."""

    @property
    def has_work(self) -> bool:
        """Whether any request is known."""

    @property
    def next_wakeup_ns(self) -> int | None:
        """When to call `step` again although nothing has arrived."""

    def submit(self, client_id: str, message: Submit) -> None:
        """Queue a request, or raise `RequestError`."""

    def abort(self, client_id: str, request_id: str, attempt: int) -> bool:
        """Forget an attempt; False if it is not known."""

    def end_choice(self, client_id: str, request_id: str, attempt: int, choice: int) -> bool:
        """Forget one choice, as completed; False if it is not known or has ended."""

    def abort_client(self, client_id: str, outcome: Outcome) -> int:
        """Forget all of a client's requests; return how many there were."""

    def end_all(self, outcome: Outcome, message: str) -> list[tuple[str, Delta]]:
        """End every request."""

    def step(self) -> StepFacts | None:
        """Run one step, or return None if there is nothing to run now."""

    def load(self) -> Load:
        """Count what runs, waits and is free."""

    def snapshot(self) -> Any:
        """Describe the core."""

    def totals(self) -> Totals:
        """Count what happened since the start."""

    def check_if_idle(self) -> None:
        """Raise `IntegrityError` if nothing is live and anything is unaccounted for."""

    def wrap_runner(self, wrap: Callable[[Runner], Runner]) -> None:
        """Put something around the runner, before the first step."""

    def hold_back(self, num_blocks: int) -> None:
        """Keep blocks of the cache out of reach; 0 ends it."""


class Loaded(Protocol):
    """A model that is ready to run, with what its clients are told of it."""

    @property
    def core(self) -> Core:
        """Scheduler and runner, as one."""

    @property
    def runner(self) -> Runner:
        """The runner itself, to be closed at the end."""

    @property
    def name(self) -> str:
        """The name that the model is served under."""

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Tokens that end an output."""

    @property
    def exactness(self) -> Exactness:
        """What warm-up measured."""

    @property
    def capacity(self) -> Capacity:
        """What fits."""

    @property
    def warmup_s(self) -> float:
        """How long warm-up took."""

    @property
    def measured_step(self) -> tuple[int, int] | None:
        """A step that warm-up ran: tokens, and the nanoseconds that they took; None where none was measured."""
