"""Judges objectives in the ops process: reads all pages at every tick, tells what changed, and remembers.

When ops dies, its successor goes on from the file in the state folder; what was counted meanwhile is in the pages.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from spillway.ops.objectives.families import families_of
from spillway.ops.objectives.samples import merged, metrics_for, samples, totals
from spillway.ops.objectives.webhooks import Webhooks
from spillway.telemetry.metrics.exposition import Family
from spillway_slo import memory
from spillway_slo.alerts import FIRING, AlertBook, AlertState
from spillway_slo.answer import answer
from spillway_slo.evaluate import Evaluator, Standing
from spillway_slo.ledger import Ledger
from spillway_slo.objective import Objective
from spillway_wire.series_totals import SeriesFolder

Log = Callable[..., None]
SAVE_EVERY_S: Final = 60.0
"""At most so often; a mark must have begun."""


class Keeper:
    """Of one ops process: `start` it, and `close` it at the end."""

    def __init__(
        self,
        objectives: Sequence[Objective],
        series: SeriesFolder,
        *,
        scale: Fraction,
        profile: str,
        problem: str = "",
        file: Path,
        webhooks: Webhooks,
        log: Log,
        judged: Callable[[Sequence[Standing]], None] = lambda _: None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`series` is what every process has counted; it is closed with this.

        `judged` is told how all objectives stand, after each look. `problem` says why there are no objectives, if they
        could not be read.
        """
        self._problem, self._judged = problem, judged
        self._objectives, self._series, self._scale, self._profile = tuple(objectives), series, scale, profile
        self._file, self.webhooks, self._log, self._monotonic = file, webhooks, log, monotonic
        self._offset = wall() - monotonic()  # so that a clock that is set does not bend windows
        self._evaluator, self._ledger, self.alerts = self._restored()
        self._wanted = metrics_for(self._evaluator.collector.metrics)
        self._standings: list[Standing] = []
        self._evaluated_at: float | None = None
        self._saved_at = -math.inf
        self._failing = False
        self._running: asyncio.Task[None] | None = None

    @property
    def tick_s(self) -> float:
        """Between two looks."""
        return self._evaluator.history.tick_s

    def now(self) -> float:
        """Unix time, as it would be had nobody set the clock since the start."""
        return self._monotonic() + self._offset

    def start(self) -> None:
        """Look at every tick from now on, until it is closed; needs a running loop."""
        self.webhooks.start()
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                if self.look(self.now()):
                    await self._save()
                self._failing = False
            except Exception as error:  # noqa: BLE001 - judging must not end because one look failed
                if not self._failing:
                    self._failing = True
                    self._log("objectives_failed", error=f"{type(error).__name__}: {error}")
            now = self.now()
            await asyncio.sleep((math.floor(now / self.tick_s) + 1) * self.tick_s - now)

    def look(self, now: float) -> bool:
        """Take one sample, judge, and tell; return whether it is time to save."""
        series = merged(self._series.read(), self._wanted)
        is_mark = self._evaluator.observe(now, samples(series, self._wanted))
        if is_mark:
            self._ledger.note(now, totals(series))
        self._standings = self._evaluator.standings()
        self._evaluated_at = now
        self._judged(self._standings)
        changed = self.alerts.update(self._standings, now)
        for alert in changed:
            self._tell(alert)
        self.webhooks.offer(changed)
        return bool(changed) or (is_mark and now - self._saved_at >= SAVE_EVERY_S)

    def _tell(self, alert: AlertState) -> None:
        told = "alert_firing" if alert.status == FIRING else "alert_resolved"
        lasted = None if alert.until is None else round(alert.until - alert.since, 3)
        self._log(
            told, alert=alert.name, severity=alert.severity, summary=alert.annotations["summary"], lasted_s=lasted
        )

    def answer(self) -> dict[str, Any]:
        """Return the body of `GET /slo`."""
        at = self._evaluated_at if self._evaluated_at is not None else self.now()
        said = answer(self._standings, self.alerts, at=at, profile=self._profile, scale=str(self._scale))
        return said | ({"problem": self._problem} if self._problem else {})

    def families(self) -> Iterable[Family]:
        """Return how objectives stand, as metrics."""
        return families_of(self._standings, self.alerts, self.webhooks.counts, self._evaluated_at)

    def reload(self, objectives: Sequence[Objective], *, scale: Fraction, profile: str) -> None:
        """Judge by other objectives from now on; what is still promised keeps its past, as over a restart."""
        past, scaled_before = self._dumped(), self._scale
        self._objectives, self._scale, self._profile, self._problem = tuple(objectives), scale, profile, ""
        evaluator, ledger = self._fresh()
        try:
            alerts = memory.restore(past, evaluator, ledger, scale=str(scale))
        except memory.UnreadableError as error:
            self._log("objectives_begin_anew", error=str(error), before=str(scaled_before), now=str(scale))
            evaluator, ledger = self._fresh()
            alerts = AlertBook()
        self._evaluator, self._ledger, self.alerts = evaluator, ledger, alerts
        self._wanted = metrics_for(evaluator.collector.metrics)
        self._standings = evaluator.standings()

    # ---- memory ----

    def _restored(self) -> tuple[Evaluator, Ledger, AlertBook]:
        evaluator, ledger = self._fresh()
        try:
            alerts = memory.restore(self._file.read_bytes(), evaluator, ledger, scale=str(self._scale))
            memory.check_time(evaluator, self.now())
        except FileNotFoundError:
            return evaluator, ledger, AlertBook()
        except (OSError, memory.UnreadableError) as error:
            self._log("objectives_memory_lost", path=str(self._file), error=str(error))
            memory.put_aside(self._file)
            return *self._fresh(), AlertBook()
        return evaluator, ledger, alerts

    def _fresh(self) -> tuple[Evaluator, Ledger]:
        return Evaluator(self._objectives, self._scale), Ledger(scale=float(self._scale))

    async def _save(self) -> None:
        self._saved_at = self.now()
        data = self._dumped()
        await asyncio.to_thread(self._write, data)

    def _dumped(self) -> bytes:
        return memory.dump(self._evaluator, self._ledger, self.alerts, scale=str(self._scale), profile=self._profile)

    def _write(self, data: bytes) -> None:
        try:
            memory.write(self._file, data)
        except OSError as error:
            self._log("objectives_memory_failed", path=str(self._file), error=str(error))

    async def close(self) -> None:
        """Remember, and let receivers go. Idempotent."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await asyncio.wait({running})
        if self._evaluated_at is not None:
            await asyncio.to_thread(self._write, self._dumped())
            self._evaluated_at = None
        self._series.close()
        await self.webhooks.close()
