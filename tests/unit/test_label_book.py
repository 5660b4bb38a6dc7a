"""The book of labels: one bound for all who share it, the same label for the same name, whoever dies."""

import fcntl
import os
from pathlib import Path

import pytest

from spillway_wire.label_book import LabelBook


def book(path: Path | None, most: int = 3) -> LabelBook:
    return LabelBook(path, most=most, other="other")


@pytest.mark.parametrize("shared", [True, False])
def test_the_first_names_have_labels_of_their_own(tmp_path: Path, *, shared: bool) -> None:
    tenants = book(tmp_path / "labels" if shared else None)
    assert [tenants.label(name) for name in ("a", "b", "a", "c", "d", "b", "e")] == [
        "a",
        "b",
        "a",
        "c",
        "other",
        "b",
        "other",
    ]
    assert tenants.label("") == "other"
    assert tenants.label("x\ny") == "other"


def test_all_who_share_it_have_one_bound_and_the_same_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    one, other = book(path), book(path)
    assert one.label("a") == "a"
    assert other.label("b") == "b"
    assert one.label("c") == "c"
    assert [gateway.label(name) for gateway in (one, other) for name in "abcd"] == ["a", "b", "c", "other"] * 2
    assert book(path).label("c") == "c"  # one that was started later
    assert path.read_text() == "a\nb\nc\n"


def test_what_a_death_tore_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.write_bytes(b"a\nhalf-a-na")
    assert book(path).label("b") == "b"
    assert path.read_text() == "a\nb\n"


def test_a_holder_that_was_stopped_stops_nobody(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.touch()
    descriptor = os.open(path, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    tenants = book(path)
    assert tenants.label("a") == "other"
    os.close(descriptor)
    assert tenants.label("a") == "a"


def test_a_folder_that_is_gone_means_other_and_no_error(tmp_path: Path) -> None:
    assert book(tmp_path / "gone" / "labels").label("a") == "other"
    (tmp_path / "labels").write_bytes(b"\xff\xfe\n")
    assert book(tmp_path / "labels").label("a") == "other"
