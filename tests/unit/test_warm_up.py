"""What warm-up finds out: whether kernels are there, how exact a runner is, and how long a step takes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from spillway_engine.exactness import Logits, measure_exactness
from spillway_engine.kernel_cache import COMPILING, WARMING, _digest, warm_up_phase
from spillway_engine.pace import time_step
from spillway_engine.plan import Row, Runner, StepPlan, StepResult
from spillway_engine.process import main as process
from spillway_engine.settings import SchedulerSettings
from spillway_wire.messages import Exactness
from spillway_wire.page import PageReader, PageWriter, create_page

VOCAB = 7


class CountingRunner:
    """Each step takes as long as the clock is moved by, the first one longest."""

    def __init__(self, *times_ns: int) -> None:
        self.now_ns = 0
        self.plans: list[StepPlan] = []
        self._times_ns = iter(times_ns)

    def execute(self, plan: StepPlan) -> StepResult:
        self.plans.append(plan)
        self.now_ns += next(self._times_ns)
        return StepResult([1])

    def close(self) -> None:
        pass


class WrappedCore:
    """Only what is put around its runner matters."""

    def __init__(self) -> None:
        self.runner: Runner = CountingRunner(1)

    def wrap_runner(self, wrap: Callable[[Runner], Runner]) -> None:
        self.runner = wrap(self.runner)


def limits_of(**limits: int) -> SchedulerSettings:
    return SchedulerSettings(**{"max_num_seqs": 1, "block_size": 4, **limits})  # type: ignore[arg-type]


def known(rows: Sequence[Row]) -> Logits:
    """Logits that only depend on the token and its position."""
    ends = [row.start + row.num_tokens - 1 for row in rows]
    return np.array([[row.sequence.tokens[end] * 100 + end] * VOCAB for row, end in zip(rows, ends, strict=True)], "f4")


def by_company(rows: Sequence[Row]) -> Logits:
    return known(rows) + np.float32(rows[0].num_tokens)


@pytest.mark.parametrize("length", [2, 3, 4, 9, 2048])
@pytest.mark.parametrize("budget", [2, 3, 4, 64])
def test_any_context_and_step_of_two_tokens_can_be_measured(length: int, budget: int) -> None:
    limits = limits_of(max_model_len=length, max_num_batched_tokens=budget)
    assert measure_exactness(known, vocab_size=VOCAB, limits=limits) is Exactness.EXACT
    assert measure_exactness(by_company, vocab_size=VOCAB, limits=limits) is Exactness.LOGICAL


def test_nothing_is_promised_where_nothing_can_be_compared() -> None:
    limits = limits_of(max_num_batched_tokens=1)
    assert measure_exactness(known, vocab_size=VOCAB, limits=limits) is Exactness.LOGICAL


@pytest.mark.parametrize(
    ("limits", "num_tokens"),
    [({}, 64), ({"max_num_batched_tokens": 5}, 5), ({"max_model_len": 2}, 1), ({"num_blocks": 3}, 12)],
)
def test_a_step_is_timed_after_one_that_may_compile(limits: dict[str, int], num_tokens: int) -> None:
    runner = CountingRunner(9_000, 70)
    measured = time_step(runner, vocab_size=VOCAB, limits=limits_of(**limits), clock_ns=lambda: runner.now_ns)
    assert measured == (num_tokens, 70)
    (row,) = runner.plans[1].rows
    assert (row.start, row.num_tokens, row.samples) == (0, num_tokens, True)
    assert len(row.sequence.block_ids) * 4 >= num_tokens
    assert max(row.sequence.tokens) < VOCAB


@pytest.mark.parametrize(("measured", "expected_ns"), [(None, 2_000_000_000), ((64, 4_000), 32_000)])
def test_the_first_step_is_expected_to_take_as_long_as_one_that_was_measured(
    tmp_path: Path, measured: tuple[int, int] | None, expected_ns: int
) -> None:
    create_page(tmp_path / "page")
    core = WrappedCore()
    page = PageWriter(tmp_path / "page")
    process._watch(core, page, None, cold_step_s=2.0, measured_step=measured, clock_ns=lambda: 0)  # type: ignore[arg-type]
    core.runner.execute(StepPlan(1, (), 512))
    progress = PageReader(tmp_path / "page").read()
    assert progress is not None
    assert progress.expected_ns == expected_ns


def test_compiling_is_announced_while_no_kernels_are_kept(tmp_path: Path) -> None:
    assert warm_up_phase(tmp_path / "none") == COMPILING
    (tmp_path / "cpu_1").mkdir()
    assert warm_up_phase(tmp_path) == COMPILING
    (tmp_path / "cpu_1" / "program.serve_steps-1.py311.nbi").touch()
    assert warm_up_phase(tmp_path) == WARMING
    assert COMPILING.startswith("warm")  # by this a process knows the phase


@pytest.mark.parametrize("name", ["compiled.py", "cpu/linear.py", "sampling/draw.py"])
def test_kernels_are_kept_apart_by_each_source_that_makes_them(tmp_path: Path, name: str) -> None:
    for source in ("compiled.py", "cpu/linear.py", "sampling/draw.py"):
        (tmp_path / source).parent.mkdir(exist_ok=True)
        (tmp_path / source).write_text("before", encoding="utf-8")
    before = _digest(tmp_path)
    assert _digest(tmp_path) == before
    (tmp_path / name).write_text("after", encoding="utf-8")
    assert _digest(tmp_path) != before
