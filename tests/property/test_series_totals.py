"""Totals over deaths: whatever is written, dies, is folded or read in whatever order, nothing ever goes backwards."""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spillway_wire.metric import counter, gauge, histogram
from spillway_wire.series import SeriesPage
from spillway_wire.series_page import create_series
from spillway_wire.series_reader import Series, SeriesReader
from spillway_wire.series_totals import SeriesFolder, SeriesTotals, series_file, totals_file

COUNTED = counter("spillway_test_counted", "Things.", "kind")
NOW = gauge("spillway_test_now", "How it is.")
TIMES = histogram("spillway_test_times_seconds", "Times.", buckets=(0.1, 1.0), unit="seconds")
PLACES = ("gateway-0", "engine-0")
KINDS = ("a", "b", "c")


class Lives(RuleBasedStateMachine):
    """Two places that count, die and are started again; one reader that looks whenever it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.around = tempfile.TemporaryDirectory()
        self.folder = Path(self.around.name)
        self.totals = {place: SeriesTotals(self.folder, place) for place in PLACES}
        self.incarnations = dict.fromkeys(PLACES, 0)
        self.pages: dict[str, SeriesPage] = {}
        self.reader = SeriesFolder(self.folder)
        self.counted: dict[tuple[str, str], int] = {}
        self.observed: dict[str, list[float]] = {place: [] for place in PLACES}
        self.seen: dict[str, Series] = {}
        self.full = False

    @rule(place=st.sampled_from(PLACES))
    def start(self, place: str) -> None:
        if place not in self.pages:
            self.incarnations[place] += 1
            path = series_file(self.folder, place, self.incarnations[place])
            create_series(path)
            self.pages[place] = SeriesPage(path)

    @precondition(lambda self: self.pages)
    @rule(data=st.data(), kind=st.sampled_from(KINDS), amount=st.integers(0, 5))
    def count(self, data: st.DataObject, kind: str, amount: int) -> None:
        place = data.draw(st.sampled_from(sorted(self.pages)))
        self.pages[place].counters(COUNTED).of(kind).add(amount)
        self.pages[place].gauges(NOW).of().set(amount)
        self.counted[place, kind] = self.counted.get((place, kind), 0) + amount

    @precondition(lambda self: self.pages)
    @rule(data=st.data(), value=st.sampled_from((0.0, 0.125, 0.5, 2.0)))
    def observe(self, data: st.DataObject, value: float) -> None:
        place = data.draw(st.sampled_from(sorted(self.pages)))
        self.pages[place].histograms(TIMES).of().observe(value)
        self.observed[place].append(value)

    @precondition(lambda self: self.pages)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(self.pages)))
        self.pages.pop(place).close()
        if self.full:  # the totals cannot be written: the page has to wait
            fresh = self.folder / f"{place}.totals-new"
            fresh.mkdir(exist_ok=True)
            with contextlib.suppress(OSError):
                self.totals[place].fold(self.incarnations[place])
            fresh.rmdir()
        else:
            self.totals[place].fold(self.incarnations[place])

    @rule(full=st.booleans())
    def fill_the_disk(self, full: bool) -> None:
        self.full = full

    @rule()
    def another_reader(self) -> None:
        """Ops was started again."""
        self.reader.close()
        self.reader = SeriesFolder(self.folder)

    @invariant()
    def everything_that_was_ever_counted_is_read(self) -> None:
        found = self.reader.read()
        for place in PLACES:
            kept = found[place].kept if place in found else {}
            for kind in KINDS:
                if counted := self.counted.get((place, kind), 0):
                    assert kept[COUNTED.id, (kind,)].numbers == (float(counted),)
            if values := self.observed[place]:
                low, middle, high, total = kept[TIMES.id, ()].numbers
                assert (low, middle, high) == (
                    sum(value <= 0.1 for value in values),
                    sum(0.1 < value <= 1.0 for value in values),
                    sum(value > 1.0 for value in values),
                )
                assert total == sum(values)
            gauges = found[place].gauges if place in found else {}
            assert not gauges or place in self.pages

    @invariant()
    def nothing_goes_backwards(self) -> None:
        for place, read in self.reader.read().items():
            for key, values in self.seen.get(place, {}).items():
                pairs = zip(values.numbers, read.kept[key].numbers, strict=True)
                assert all(before <= after for before, after in pairs), key
            self.seen[place] = read.kept

    def teardown(self) -> None:
        self.reader.close()
        for page in self.pages.values():
            page.close()
        self.around.cleanup()


Lives.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLives = Lives.TestCase


@pytest.mark.parametrize("moment", ["totals read", "page opened", "page read"])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_death_in_the_midst_of_a_look_is_neither_missed_nor_seen_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, *, restarts: bool
) -> None:
    totals = SeriesTotals(tmp_path, "engine-0")

    def live(incarnation: int, amount: int) -> SeriesPage:
        create_series(series_file(tmp_path, "engine-0", incarnation))
        page = SeriesPage(series_file(tmp_path, "engine-0", incarnation))
        page.counters(COUNTED).of("a").add(amount)
        return page

    live(1, 10).close()
    totals.fold(1)
    running = [live(2, 5)]
    folder = SeriesFolder(tmp_path)
    assert folder.read()["engine-0"].kept[COUNTED.id, ("a",)].numbers == (15.0,)
    died: list[int] = []

    def die_once(*_: Any) -> None:
        if not died:
            died.append(2)
            running.pop().close()
            totals.fold(2)
            if restarts:
                running.append(live(3, 1))

    def after(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any) -> Any:
            answer = call(*given)
            die_once()
            return answer

        return wrapped

    def before(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any) -> Any:
            die_once()
            return call(*given)

        return wrapped

    match moment:
        case "totals read":
            monkeypatch.setattr(SeriesFolder, "_see_totals", after(SeriesFolder._see_totals))
        case "page opened":
            monkeypatch.setattr(SeriesFolder, "_page", after(SeriesFolder._page))
        case _:
            monkeypatch.setattr(SeriesReader, "read", before(SeriesReader.read))
    read = folder.read()["engine-0"]
    assert died == [2]
    assert read.kept[COUNTED.id, ("a",)].numbers == ((16.0,) if restarts else (15.0,))
    assert folder.read()["engine-0"].kept == read.kept
    folder.close()
    for page in running:
        page.close()


def test_a_process_that_never_began_leaves_nothing_but_totals_of_nothing(tmp_path: Path) -> None:
    totals = SeriesTotals(tmp_path, "engine-0")
    totals.begin()
    create_series(series_file(tmp_path, "engine-0", 1))
    totals.fold(1)
    totals.fold(2)  # it never had a page
    assert [file.name for file in tmp_path.iterdir()] == ["engine-0.totals"]
    folder = SeriesFolder(tmp_path)
    assert folder.read()["engine-0"].kept == {}
    folder.close()


def test_totals_that_somebody_spoilt_take_no_scrape_down(tmp_path: Path) -> None:
    folder = SeriesFolder(tmp_path)
    totals_file(tmp_path, "engine-0").write_bytes(b"nonsense")
    series_file(tmp_path, "engine-0", 1).write_bytes(b"")
    (tmp_path / "x.series").touch()
    assert folder.read()["engine-0"].kept == {}
    folder.close()
