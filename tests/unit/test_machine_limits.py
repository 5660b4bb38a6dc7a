"""What a cgroup leaves of the machine, read from folders that look like one."""

from pathlib import Path

import pytest

from spillway_engine import machine


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder


def test_memory_left_is_the_limit_without_what_is_taken(tmp_path: Path) -> None:
    write(tmp_path, memory_max="1000\n", memory_current="300\n")
    assert machine.memory_left(tmp_path) == 700


def test_cached_files_count_as_left(tmp_path: Path) -> None:
    write(
        tmp_path,
        memory_max="1000\n",
        memory_current="900\n",
        memory_stat="anon 300\nfile 600\nactive_file 200\ninactive_file 400\n",
    )
    assert machine.memory_left(tmp_path) == 700


def test_nothing_is_left_where_a_limit_was_lowered(tmp_path: Path) -> None:
    write(tmp_path, memory_max="1000\n", memory_current="1500\n")
    assert machine.memory_left(tmp_path) == 0


@pytest.mark.parametrize("files", [{}, {"memory_max": "max\n", "memory_current": "300\n"}, {"memory_max": "1000\n"}])
def test_without_a_limit_memory_is_the_machines(tmp_path: Path, files: dict[str, str]) -> None:
    assert machine.memory_left(write(tmp_path, **files)) is None


@pytest.mark.parametrize(("text", "cores"), [("150000 100000\n", 1.5), ("max 100000\n", None), (None, None)])
def test_a_quota_is_so_many_cores(tmp_path: Path, text: str | None, cores: float | None) -> None:
    assert machine.cpu_quota(write(tmp_path, **({} if text is None else {"cpu_max": text}))) == cores


def test_a_cgroups_own_limits_and_those_around_it_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("4:memory:/old\n0::/outer/inner\n", encoding="utf-8")
    folders = list(machine.cgroup_folders(tmp_path / "fs", tmp_path / "membership"))
    assert folders == [tmp_path / "fs/outer/inner", tmp_path / "fs/outer", tmp_path / "fs"]
    assert list(machine.cgroup_folders(tmp_path / "fs", tmp_path / "none")) == []


def test_the_tightest_limit_is_the_one_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = write(tmp_path / "inner", memory_max="5000\n", memory_current="1000\n", cpu_max="100000 100000\n")
    outer = write(tmp_path, memory_max="6000\n", memory_current="3000\n", cpu_max="50000 100000\n")
    monkeypatch.setattr(machine, "cgroup_folders", lambda: iter((inner, outer)))
    assert machine.available_bytes() == 3000
    assert machine.num_threads() == 1


def test_without_a_cgroup_all_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cgroup_folders", lambda: iter(()))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert machine.num_threads() == 3
    assert machine.available_bytes() > 1 << 20
