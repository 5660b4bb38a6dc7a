"""Metrics across real deaths: processes are killed while they count, and nothing that was counted is lost."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spillway_engine.client.engine_client import EngineClient
from spillway_engine.errors import EngineDeadError
from spillway_wire import names
from spillway_wire.metric import Metric
from spillway_wire.series_page import create_series
from spillway_wire.series_reader import Read, SeriesReader, Values
from spillway_wire.series_totals import SeriesFolder, SeriesTotals, series_file

COUNTING = """
import sys
from pathlib import Path
from spillway_wire import names
from spillway_wire.series import SeriesPage
page = SeriesPage(Path(sys.argv[1]))
counter = page.counters(names.REDIS_FAILURES).of()
steps = page.histograms(names.STEP_DURATION)
number = 0
while True:
    number += 1
    counter.add()
    steps.of("demo").observe(0.5)
    if number % 1000 == 0:
        print(number, flush=True)
"""


def test_what_a_killed_process_had_counted_is_there(tmp_path: Path) -> None:
    totals = SeriesTotals(tmp_path, "engine-0")
    folder = SeriesFolder(tmp_path)
    counter_key, steps_key = (names.REDIS_FAILURES.id, ()), (names.STEP_DURATION.id, ("demo",))
    before = [0.0, 0.0, 0.0]
    told = 0
    for incarnation in range(1, 6):
        path = series_file(tmp_path, "engine-0", incarnation)
        create_series(path)
        with subprocess.Popen([sys.executable, "-c", COUNTING, str(path)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            line = child.stdout.readline()
            during = folder.read()["engine-0"].kept[counter_key].numbers[0]
            child.kill()
            last = int((child.stdout.read().split() or [line])[-1])  # whatever it had said before it died
            child.wait()
        told += last
        totals.fold(incarnation)
        kept = folder.read()["engine-0"].kept
        (counted,), observed = kept[counter_key].numbers, kept[steps_key].numbers
        assert before[0] <= during <= counted
        assert told <= counted
        assert 0 <= counted - sum(observed[:-1]) <= incarnation  # it may have died between one and the other
        assert 0 <= sum(observed[:-1]) * 0.5 - observed[-1] <= incarnation * 0.5
        now = [counted, sum(observed[:-1]), observed[-1]]
        assert all(was <= is_ for was, is_ in zip(before, now, strict=True))
        before = now
    folder.close()


# ---- under the real supervisor ----


@pytest.fixture
def instance(instances: ModuleType, tmp_path: Path, short_folder: Path) -> Iterator[Any]:
    given = {
        "models": [{"name": "fake", "model": str(tmp_path), "engines": 1}],
        "network": {"port": 0, "ops_port": 0},
        "restart": {"backoff_base_s": 0.02},
        "redis": "redis://not-needed",
        "runtime_dir": str(short_folder),
        "chaos": True,
    }
    with instances.Instance(given) as instance:
        instance.ready()
        instance.until(lambda status: status["engines"][0]["state"] == "ready")
        yield instance


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Pytest's own folders are too long for a socket's path."""
    with tempfile.TemporaryDirectory(prefix="run-") as name:
        yield Path(name)


def values(read: dict[str, Read], place: str, metric: Metric, *labels: str) -> Values | None:
    return read[place].kept.get((metric.id, labels)) if place in read else None


def work(instance: Any) -> None:
    """Let a request run on the engine until the engine is gone."""

    async def main() -> None:
        newest = instance.ask(instance.api, "members")[-1]["members"][-1]
        async with await EngineClient.connect(newest["address"], client_id="gateway-0") as client:
            with pytest.raises(EngineDeadError):
                await client.submit([1], request_id="x").result()

    asyncio.run(main())


def test_an_engines_steps_and_its_recovery_are_counted_over_its_death(instance: Any, short_folder: Path) -> None:
    folder = SeriesFolder(short_folder)
    for death in (1, 2):
        assert instance.order("inject", "engine-0", fault="crash", at_step=5)["accepted"]
        work(instance)
        instance.event("engine_ended", engine="engine-0", incarnation=death)
        status = instance.until(
            lambda status, death=death: (
                (status["engines"][0]["incarnation"], status["engines"][0]["state"]) == (death + 1, "ready")
            )
        )
        read = folder.read()
        steps = values(read, "engine-0", names.STEP_DURATION, "fake")
        assert steps is not None
        assert sum(steps.numbers[:-1]) == 4 * death
        assert status["engines"][0]["counters"]["output_tokens"] == 4 * death
        recovered = values(read, "supervisor", names.TIME_TO_RECOVER, "engine", "signal")
        assert recovered is not None
        assert sum(recovered.numbers[:-1]) == death
        assert recovered.numbers[-1] > 0.02 * death  # the pause alone takes that
    assert [file.name for file in short_folder.glob("engine-0*.series")] == ["engine-0.3.series"]
    folder.close()


def test_a_killed_gateways_open_requests_are_in_the_requests_by_outcome(instance: Any, short_folder: Path) -> None:
    for line in ("open", "open", "open", "done"):
        instance.ask(instance.api, line)
    _, _, pid = instance.ask(instance.api, "who")
    os.kill(pid, signal.SIGKILL)
    instance.event("child_ended", child="gateway-0")
    instance.until(lambda status: status["gateways"][0]["incarnation"] == 2)
    reader = SeriesReader(short_folder / "gateway-0.totals")
    kept = reader.read().kept
    found = {labels[-1]: said.numbers[0] for (metric, labels), said in kept.items() if metric == names.REQUESTS.id}
    assert found == {"completed": 1, "gateway_failed": 2}
    reader.close()
