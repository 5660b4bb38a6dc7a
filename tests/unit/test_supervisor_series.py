"""What the supervisor keeps of metrics: pages of the dead, a dead gateway's open requests, detection and recovery."""

from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from spillway.runtime import RuntimeFolder
from spillway.supervisor.exits import Exit
from spillway.supervisor.lifecycle import State
from spillway.supervisor.place import LastExit
from spillway.supervisor.recoveries import Recoveries
from spillway.supervisor.series_books import SeriesBooks, rest_of
from spillway.supervisor.totals import settle
from spillway_wire import names
from spillway_wire.outcomes import Outcome
from spillway_wire.plane import ExitCause
from spillway_wire.series import SeriesPage
from spillway_wire.series_totals import SeriesFolder
from spillway_wire.tally import COUNTERS

SECOND = 1_000_000_000


@dataclass
class House:
    """The books in a folder of their own, and what a reader finds there."""

    path: Path
    logged: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.books = SeriesBooks(RuntimeFolder(self.path), lambda event, **_: self.logged.append(event))
        self.reader = SeriesFolder(self.path)

    def requests(self) -> dict[str, float]:
        """The requests of gateway-0 by outcome, all other labels added up."""
        found: dict[str, float] = {}
        for (metric, labels), values in self.reader.read()["gateway-0"].kept.items():
            if metric == names.REQUESTS.id:
                found[labels[-1]] = found.get(labels[-1], 0.0) + values.numbers[0]
        return found


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def tally(**counts: int) -> dict[str, int]:
    return settle(dict.fromkeys(COUNTERS, 0) | counts)


def test_a_dead_gateways_requests_add_up_to_its_tally(house: House) -> None:
    child = house.books.open("gateway-0", 1, large=True)
    assert child.path is not None
    page = SeriesPage(child.path)
    for outcome, count in ((Outcome.COMPLETED, 5), (Outcome.QUOTA, 2)):
        page.counters(names.REQUESTS).of("demo", "gold", "bulk", "chat", outcome).add(count)
    page.close()
    # It had counted one completion in its tally and was killed before it counted it here; three were open.
    child.close(rest_of(tally(arrivals=11, outcome_completed=6, outcome_quota=2)))

    assert house.requests() == {"completed": 6, "quota": 2, "gateway_failed": 3}
    assert not child.path.exists()
    house.books.close()


def test_a_gateway_that_counted_more_here_than_there_loses_nothing(house: House) -> None:
    child = house.books.open("gateway-0", 1, large=True)
    assert child.path is not None
    page = SeriesPage(child.path)
    page.counters(names.REQUESTS).of("demo", "gold", "bulk", "chat", "completed").add(2)
    page.close()
    child.close(rest_of(tally(arrivals=1, outcome_completed=1)))
    assert house.requests() == {"completed": 2}
    house.books.close()


def test_a_disk_that_is_full_is_told_and_stops_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    child = house.books.open("engine-0", 1)
    assert child.path is not None
    page = SeriesPage(child.path)
    page.histograms(names.STEP_DURATION).of("demo").observe(0.5)
    page.close()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        child.close()
        pageless = house.books.open("engine-0", 2)
        assert pageless.path is None
        pageless.close()
        SeriesBooks(RuntimeFolder(tmp_path), lambda event, **_: house.logged.append(event)).close()
    assert set(house.logged) == {"series_not_kept", "no_series"}
    key = (names.STEP_DURATION.id, ("demo",))
    assert house.reader.read()["engine-0"].kept[key].numbers[-1] == 0.5
    house.books.open("engine-0", 3).close()  # there is room again
    assert [file.name for file in tmp_path.iterdir() if "engine" in file.name] == ["engine-0.totals"]
    assert house.reader.read()["engine-0"].kept[key].numbers[-1] == 0.5
    house.books.close()


# ---- detection and recovery ----


@dataclass
class Seen:
    id: str = "engine-0"
    state: State = State.READY
    last_exit: LastExit | None = None
    run: Any = None

    def dies(self, cause: ExitCause = ExitCause.SIGNAL, state: State = State.BACKOFF) -> None:
        self.last_exit, self.state = LastExit(Exit(cause, "it died", -9), 1, 0.0), state


class Observed:
    """Recoveries, and what they observed."""

    def __init__(self) -> None:
        self.values: list[tuple[str, str, str, float]] = []
        self.recoveries = Recoveries(self._family("detect"), self._family("recover"))

    def _family(self, name: str) -> Any:
        def of(role: str, cause: str) -> Any:
            return SimpleNamespace(observe=lambda value: self.values.append((name, role, cause, value)))

        return SimpleNamespace(of=of)


@pytest.fixture
def observed() -> Observed:
    return Observed()


def test_a_crash_is_seen_at_once_and_recovered_when_its_place_is_ready(observed: Observed) -> None:
    place, look = Seen(), observed.recoveries.look
    look(place, 0)
    place.dies()
    look(place, 10 * SECOND)
    for seconds, state in ((10.5, State.SPAWNING), (11, State.LOADING), (13, State.READY), (14, State.READY)):
        place.state = state
        look(place, int(seconds * SECOND))
    assert observed.values == [("detect", "engine", "signal", 0.0), ("recover", "engine", "signal", 3.0)]


def test_a_hang_lasted_since_the_last_sign_of_life(observed: Observed) -> None:
    place = Seen("gateway-1", run=SimpleNamespace(last_sign_ns=lambda: 8 * SECOND))
    place.dies(ExitCause.HANG, State.HUNG)
    observed.recoveries.look(place, 10 * SECOND)
    place.state, place.run = State.BACKOFF, None
    observed.recoveries.look(place, 10 * SECOND)
    place.state = State.STANDBY
    observed.recoveries.look(place, 12 * SECOND)
    assert observed.values == [("detect", "gateway", "hang", 2.0), ("recover", "gateway", "hang", 2.0)]


def test_what_dies_again_on_its_way_back_has_not_recovered(observed: Observed) -> None:
    place, look = Seen("redis"), observed.recoveries.look
    place.dies()
    look(place, 0)
    place.state = State.SPAWNING
    look(place, SECOND)
    place.dies(ExitCause.FAILED_START, State.PARKED)
    look(place, 2 * SECOND)
    place.state = State.READY
    look(place, 60 * SECOND)
    assert observed.values == [
        ("detect", "redis", "signal", 0.0),
        ("detect", "redis", "failed_start", 0.0),
        ("recover", "redis", "signal", 60.0),
    ]


@pytest.mark.parametrize("state", [State.STOPPED, State.SPAWNING])
def test_what_was_asked_for_is_no_fault(observed: Observed, state: State) -> None:
    place = Seen()
    place.dies(ExitCause.CLEAN, state)
    observed.recoveries.look(place, SECOND)
    place.state = State.READY
    observed.recoveries.look(place, 2 * SECOND)
    assert observed.values == []


def test_what_is_stopped_for_good_is_waited_for_by_nobody(observed: Observed) -> None:
    place = Seen()
    place.dies()
    observed.recoveries.look(place, 0)
    for state in (State.STOPPED, State.SPAWNING, State.READY):
        place.state = state
        observed.recoveries.look(place, 9 * SECOND)
    assert observed.values == [("detect", "engine", "signal", 0.0)]


def test_a_place_with_a_real_life_is_followed(fake_runs: ModuleType, observed: Observed) -> None:
    pool = fake_runs.Pool(engines=1).ready()
    (place,) = pool.engines.places.values()
    pool.engines._notify = lambda place: observed.recoveries.look(place, pool.time.now_ns)
    pool.run(0).end(-9)
    pool.time.pass_s(5)
    pool.run(0).signs.ready()
    assert place.state is State.READY
    assert [value[:3] for value in observed.values] == [("detect", "engine", "signal"), ("recover", "engine", "signal")]
    assert observed.values[1][3] == 5.0
