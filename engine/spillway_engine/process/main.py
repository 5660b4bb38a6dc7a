"""The engine process: `python -m spillway_engine --model … --address …`.

Which process runs it: one per engine, started by a supervisor, by `client.EngineClient.spawn`, or by hand.
What crosses its boundary: frames on the sockets of its one address (see `channels`), the progress page (see
`spillway_wire.page`), signals (SIGTERM and SIGINT: the first drains, the second stops), one line `ready ADDRESS` on
standard output when it can take work, events as JSON lines on standard error, and the exit status (see `exits`).
What happens when the other side dies: a client's death ends its requests; with `--parent-pid` the parent's death
ends this process.

It listens only after the model is loaded and warm: who can connect can send work, and an address that does not answer
yet is not ready yet.
"""

import asyncio
import contextlib
import importlib.metadata
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spillway_engine.errors import EngineError, ModelError, SettingsError
from spillway_engine.instruments import Instruments
from spillway_engine.plan import TellsFacts
from spillway_engine.process.channels import Channels
from spillway_engine.process.core_contract import Core, Loaded
from spillway_engine.process.exits import EXIT_CANNOT_START, EXIT_OK, EXIT_USAGE
from spillway_engine.process.faults import Faults, FaultyRunner
from spillway_engine.process.flags import ProcessSettings, parse_flags
from spillway_engine.process.loop import TICK_S, StepLoop
from spillway_engine.process.progress import DurationEstimate, WatchedRunner
from spillway_engine.settings import EngineSettings
from spillway_wire.address import UnixAddress
from spillway_wire.channel import MAX_UNSENT_BYTES
from spillway_wire.messages import Welcome
from spillway_wire.oplog import OperatorLog
from spillway_wire.page import EngineState, PageError, PageWriter
from spillway_wire.parent import ParentGoneError, parent_is_alive, tie_to_parent
from spillway_wire.series import SeriesPage
from spillway_wire.series_page import SeriesError

FAREWELL_S = 1.0
"""How long last words and last outputs may take to leave."""
COLD_STEP_S = (0.25, 2.0)
"""What the first step is expected to take at least and at most where warm-up has not measured one.

It is estimated from how long warm-up took as a whole, which may have compiled, too.
"""

Loader = Callable[[EngineSettings, Callable[[str, float], None]], Loaded]
"""Makes an engine ready, reporting (phase, share done) as it goes."""


class LoadInterruptedError(EngineError):
    """A signal asked this process to end before it was ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the process takes from its world; tests pass their own."""

    clock_ns: Callable[[], int] = time.monotonic_ns
    tick_s: float = TICK_S
    max_unsent_bytes: int = MAX_UNSENT_BYTES
    hello_timeout_s: float = 5.0
    signals: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT)
    owns_process: bool = False
    """Whether the process ends when the engine does."""


def main(arguments: Sequence[str] | None = None, *, load: Loader | None = None) -> int:
    """Run an engine process to its end and return its exit status."""
    try:
        settings, process = parse_flags(sys.argv[1:] if arguments is None else arguments)
    except SettingsError as error:
        sys.stderr.write(f"spillway_engine: {error}\n")
        return EXIT_USAGE
    log = OperatorLog(engine=process.engine_id, incarnation=process.incarnation)
    try:
        if process.parent_pid is not None:
            tie_to_parent(process.parent_pid)
        page = PageWriter(process.page)
        series = SeriesPage(process.series)
    except (ParentGoneError, OSError, PageError, SeriesError) as error:
        log("cannot_start", error=f"{type(error).__name__}: {error}")
        return EXIT_CANNOT_START
    with contextlib.closing(page), contextlib.closing(series):
        try:
            loaded = _load(settings, load or _default_loader(), page, log)
            with contextlib.closing(loaded.runner), asyncio.Runner(loop_factory=_loop_factory()) as runner:
                around = Surroundings(owns_process=True)
                return runner.run(serve(loaded, process, page, log, series=series, surroundings=around))
        except LoadInterruptedError as error:
            log("interrupted", message=str(error))
            return EXIT_OK
        except SettingsError as error:
            log("cannot_start", error=f"{type(error).__name__}: {error}")
            return EXIT_USAGE
        except (EngineError, ModelError, OSError, MemoryError) as error:
            log("cannot_start", error=f"{type(error).__name__}: {error}")
            return EXIT_CANNOT_START


def _default_loader() -> Loader:
    from spillway_engine.startup import load_engine  # noqa: PLC0415 - torch lies behind it

    return load_engine


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - does not exist on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop  # type: ignore[no-any-return]


def _load(settings: EngineSettings, load: Loader, page: PageWriter, log: OperatorLog) -> Loaded:
    """Load the model. The first signal ends it at the next report of progress, a second one at once."""
    asked: list[int] = []

    def flag(number: int, _: object) -> None:
        asked.append(number)
        signal.signal(number, signal.SIG_DFL)

    def report(phase: str, share: float) -> None:
        page.state = EngineState.WARMING if phase.startswith("warm") else EngineState.LOADING
        page.tick(time.monotonic_ns())
        log("loading", phase=phase, share=round(share, 3))
        if asked:
            raise LoadInterruptedError(f"{signal.Signals(asked[0]).name} while loading")

    before = {number: signal.signal(number, flag) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        report("start", 0.0)
        loaded = load(settings, report)
        report("loaded", 1.0)
        return loaded
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def serve(
    loaded: Loaded,
    process: ProcessSettings,
    page: PageWriter,
    log: OperatorLog,
    *,
    series: SeriesPage | None = None,
    surroundings: Surroundings | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> int:
    """Serve a loaded engine at its address until it is told to end; return the exit status."""
    around = surroundings or Surroundings()
    core = loaded.core
    num_blocks = loaded.capacity.num_blocks
    faults = Faults(hold_back=lambda share: core.hold_back(round(share * num_blocks))) if process.chaos else None
    if faults is not None and process.arm is not None:
        try:
            faults.arm_for_good(process.arm)
        except ValueError as error:
            raise SettingsError(f"--arm: {error}") from None
    _watch(
        core,
        page,
        faults,
        cold_step_s=min(max(loaded.warmup_s, COLD_STEP_S[0]), COLD_STEP_S[1]),
        measured_step=loaded.measured_step,
        clock_ns=around.clock_ns,
    )
    instruments = None if series is None else Instruments(series, loaded.name)
    if instruments is not None:
        core.wrap_runner(instruments.watch)
    parent = process.parent_pid
    orphaned = (lambda: False) if parent is None else (lambda: not parent_is_alive(parent))
    steps = StepLoop(
        core,
        page,
        clock_ns=around.clock_ns,
        log=log,
        faults=faults,
        instruments=instruments,
        tick_s=around.tick_s,
        orphaned=orphaned,
        device_facts=loaded.runner.facts if isinstance(loaded.runner, TellsFacts) else dict,
    )
    channels = Channels(
        steps,
        _welcome(loaded, process),
        warmup_s=loaded.warmup_s,
        counters=page.counters,
        log=log,
        clock_ns=around.clock_ns,
        hello_timeout_s=around.hello_timeout_s,
        max_unsent_bytes=around.max_unsent_bytes,
        frame_hook=None if faults is None else faults.on_frame,
    )
    loop = asyncio.get_running_loop()
    address = await channels.open(process.address)
    try:
        for number in around.signals:
            loop.add_signal_handler(number, steps.signalled)  # only sets a flag
        (on_ready or _print_ready)(str(address))
        log("ready", address=str(address), model=loaded.name, warmup_s=loaded.warmup_s)
        ending = await steps.run(channels)
        await channels.close(ending.words, FAREWELL_S)
        log("ended", cause=ending.words.cause, message=ending.words.message, status=ending.status)
        return ending.status
    finally:
        # The end is decided. A signal that comes between here and the exit must not turn its status into a death.
        if around.owns_process:
            signal.pthread_sigmask(signal.SIG_BLOCK, around.signals)
        for number in around.signals:
            loop.remove_signal_handler(number)
        if isinstance(address, UnixAddress):
            Path(address.path).unlink(missing_ok=True)  # noqa: ASYNC240 - nothing is served any more


def _watch(
    core: Core,
    page: PageWriter,
    faults: Faults | None,
    *,
    cold_step_s: float,
    measured_step: tuple[int, int] | None,
    clock_ns: Callable[[], int],
) -> None:
    """Put the page, and inside of it the faults, around the core's runner."""
    estimate = DurationEstimate(int(cold_step_s * 1e9))
    if measured_step is not None:
        estimate.learn(*measured_step)
    if faults is not None:
        core.wrap_runner(lambda runner: FaultyRunner(runner, faults))
    core.wrap_runner(lambda runner: WatchedRunner(runner, page, estimate, clock_ns))


def _welcome(loaded: Loaded, process: ProcessSettings) -> Welcome:
    return Welcome(
        engine_id=process.engine_id,
        incarnation=process.incarnation,
        model=loaded.name,
        vocab_size=loaded.vocab_size,
        eos_token_ids=loaded.eos_token_ids,
        exactness=loaded.exactness,
        capacity=loaded.capacity,
        engine_version=importlib.metadata.version("spillway"),
    )


def _print_ready(address: str) -> None:
    sys.stdout.write(f"ready {address}\n")
    sys.stdout.flush()
