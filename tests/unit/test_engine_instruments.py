"""What an engine counts of its steps."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from spillway_engine.instruments import Instruments
from spillway_engine.plan import StepResult
from spillway_wire import names
from spillway_wire.metric import Metric
from spillway_wire.series import SeriesPage
from spillway_wire.series_page import create_series
from spillway_wire.series_reader import SeriesReader


@dataclass(frozen=True)
class Step:
    num_tokens: int
    num_decodes: int
    started_ns: int = 1_000_000_000
    ended_ns: int = 1_250_000_000


class Runner:
    closed = False

    def execute(self, _: Any) -> StepResult:
        return StepResult([7])

    def close(self) -> None:
        self.closed = True


def test_steps_that_computed_something_are_counted(tmp_path: Path) -> None:
    create_series(tmp_path / "page")
    page = SeriesPage(tmp_path / "page")
    instruments = Instruments(page, "demo")
    inner = Runner()
    runner = instruments.watch(inner)
    for num_rows, step in ((5, Step(100, 4)), (4, Step(4, 4)), (9, Step(0, 0))):
        plan: Any = SimpleNamespace(rows=[None] * num_rows)
        assert runner.execute(plan).token_ids == [7]
        instruments.stepped(step)
    runner.close()
    assert inner.closed
    kept = SeriesReader(tmp_path / "page").read().kept

    def said(metric: Metric, *labels: str) -> tuple[float, float]:
        numbers = kept[metric.id, labels].numbers
        return sum(numbers[:-1]), numbers[-1]

    assert said(names.STEP_DURATION, "demo") == (2, 0.5)
    assert said(names.STEP_SEQUENCES, "demo") == (2, 9)
    assert said(names.STEP_PREFILL_TOKENS, "demo") == (2, 96)
    assert said(names.STEP_DECODE_TOKENS, "demo") == (2, 8)
    assert kept[names.COMPUTED_TOKENS.id, ("demo", "prefill")].numbers == (96,)
    assert kept[names.COMPUTED_TOKENS.id, ("demo", "decode")].numbers == (8,)
    page.close()
