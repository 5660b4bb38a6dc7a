"""What a peer is given, what it answers, and what it is.

::

    PeerCase ──▶ Peer ──▶ PeerResult        it ran: so many tokens in so many seconds
                     └──▶ PeerUnavailable   it did not install, start or finish: and why
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCase:
    """One measurement: the same work for every peer.

    Every prompt is a list of token ids and is answered greedily with exactly `max_tokens` tokens, whatever they are.
    `concurrency` requests are in flight at any time until the prompts run out. Prompts should differ from each other,
    or prefix caches answer them; their number should be a multiple of `concurrency`, or the last round runs half empty.
    """

    model_path: Path
    concurrency: int
    prompts: list[list[int]]
    max_tokens: int
    threads: int

    def __post_init__(self) -> None:
        for key in ("concurrency", "max_tokens", "threads"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}; it must be at least 1")
        if len(self.prompts) < self.concurrency:
            raise ValueError(f"{len(self.prompts)} prompts cannot keep {self.concurrency} requests in flight")


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerResult:
    """What one peer did with one case, after one warm-up round of other prompts."""

    name: str
    version: str
    served: bool
    """True when every token travelled over HTTP, False when the engine was called inside its process."""
    output_tokens: int
    seconds: float
    tokens_per_s: float
    first_token_ms_p50: float | None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerUnavailable:
    """A peer that gave no figure; the rest of the bench goes on."""

    name: str
    reason: str


PeerOutcome = PeerResult | PeerUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One engine that we compare with.

    `runner` is a program that needs nothing of this package: ``<interpreter> <runner> <case file>``. The case file is
    a JSON object of the fields of `PeerCase` and of `options`; the answer is one JSON object on the last line of its
    standard output, with ``version``, ``served``, ``output_tokens``, ``seconds`` and, where it applies,
    ``first_token_ms_p50`` and ``note``.
    """

    name: str
    about: str
    runner: Path
    interpreter: Callable[[Path], Path]
    """Given the folder for virtual environments, returns the interpreter to use; raises `EnvironmentFailed`."""
    options: Mapping[str, object] = field(default_factory=dict)
