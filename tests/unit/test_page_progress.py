"""The progress page: nobody sees a torn write, the dead can still be read, and lateness is judged by what it says."""

import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spillway_wire.page import (
    MAX_IDS_BYTES,
    PAGE_BYTES,
    Counter,
    EngineState,
    PageError,
    PageReader,
    PageWriter,
    Progress,
    create_page,
    overdue,
)

SECOND = 1_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_page(tmp_path / "page")
    return tmp_path / "page"


def test_a_page_says_nothing_until_it_is_written(path: Path) -> None:
    assert PageReader(path).read() is None


def test_begin_and_end_of_a_step(path: Path) -> None:
    writer, reader = PageWriter(path), PageReader(path)
    writer.state = EngineState.READY
    writer.counters[Counter.OUTPUT_TOKENS] = 2**63
    writer.set_aboard([("gateway-0", "request-1", 2, 0), ("gateway-1", "ünï", 1, 3)])
    writer.begin(7, 1_000, 250)
    during = reader.read()
    assert during is not None
    assert (during.state, during.step, during.started_ns, during.expected_ns) == (EngineState.READY, 7, 1_000, 250)
    assert during.aboard == (("gateway-0", "request-1", 2, 0), ("gateway-1", "ünï", 1, 3))
    assert during.counters[Counter.OUTPUT_TOKENS] == 2**63
    writer.end(1_300)
    after = reader.read()
    assert after is not None
    assert (after.started_ns, after.ticked_ns, after.sequence) == (None, 1_300, 2)


def test_ids_that_do_not_fit_are_left_out_and_counted(path: Path) -> None:
    writer, reader = PageWriter(path), PageReader(path)
    aboard = [("client", f"{index:040d}", 1, 0) for index in range(1_000)]
    writer.set_aboard(aboard)
    writer.begin(1, 1, 1)
    progress = reader.read()
    assert progress is not None
    assert progress.num_aboard == 1_000
    assert 0 < len(progress.aboard) < 1_000
    assert list(progress.aboard) == aboard[: len(progress.aboard)]
    assert len(progress.aboard) * 50 > MAX_IDS_BYTES * 0.8, "the room is used"


@given(cut=st.integers(0, PAGE_BYTES), ids=st.lists(st.text(max_size=8), max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_death_at_any_byte_of_a_write_leaves_a_whole_page(path: Path, cut: int, ids: list[str]) -> None:
    """A write is torn by undoing all of its bytes from `cut` on; what is read must be the state before or after it."""
    create_page(path)
    writer = PageWriter(path)
    writer.set_aboard([("a", "first", 1, 0)])
    writer.begin(1, 100, 10)
    writer.end(200)
    before, old = path.read_bytes(), PageReader(path).read()
    writer.set_aboard([("a", text, 1, 0) for text in ids])
    writer.begin(2, 300, 10)
    after, new = path.read_bytes(), PageReader(path).read()
    path.write_bytes(after[:cut] + before[cut:])
    assert PageReader(path).read() in (old, new)
    path.write_bytes(before[:cut] + after[cut:])  # stores seen in another order
    assert PageReader(path).read() in (old, new)


@pytest.mark.parametrize("content", [b"", b"x" * 10, b"\0" * PAGE_BYTES])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    other = tmp_path / "other"
    other.write_bytes(content)
    for side in (PageWriter, PageReader):
        with pytest.raises(PageError):
            side(other)


def test_the_layout_in_the_docstring_is_the_real_one(path: Path) -> None:
    writer = PageWriter(path)
    writer.begin(5, 6, 7)
    page = path.read_bytes()
    slot_bytes = int.from_bytes(page[12:16], "little")
    assert page[:8] == b"SPLWPAGE"
    assert len(page) == 16 + 2 * slot_bytes
    slot = page[16 + slot_bytes :]  # the first write goes to slot B
    assert [int.from_bytes(slot[at : at + 8], "little") for at in (8, 32, 40, 48, 56)] == [1, 5, 6, 7, 6]
    assert int.from_bytes(slot[:4], "little") == zlib.crc32(slot[8 : 64 + 8 * len(Counter)])


def progress(state: EngineState = EngineState.READY, **fields: object) -> Progress:
    given: dict[str, object] = {"started_ns": None, "expected_ns": 0, "ticked_ns": 0} | fields
    return Progress(sequence=1, state=state, step=1, counters={}, aboard=(), num_aboard=0, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "now_ns", "late_ns"),
    [
        (progress(ticked_ns=5 * SECOND), 7 * SECOND, None),
        (progress(ticked_ns=5 * SECOND), 7 * SECOND + 1, 1),
        (progress(started_ns=SECOND, expected_ns=SECOND // 100), 3 * SECOND, None),
        (progress(started_ns=SECOND, expected_ns=SECOND // 100), 3 * SECOND + 5, 5),
        (progress(started_ns=SECOND, expected_ns=SECOND), 9 * SECOND, None),
        (progress(started_ns=SECOND, expected_ns=SECOND), 9 * SECOND + 1, 1),
        (progress(EngineState.DRAINING, started_ns=SECOND), 9 * SECOND, 6 * SECOND),
        (progress(EngineState.LOADING), 900 * SECOND, None),
        (progress(EngineState.STOPPED), 900 * SECOND, None),
    ],
)
def test_an_engine_hangs_when_its_step_or_its_tick_is_too_old(what: Progress, now_ns: int, late_ns: int | None) -> None:
    assert overdue(what, now_ns) == late_ns
