"""The runtime folder: names and bounds, whose it is, and what of a crash is removed and what never."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from spillway.errors import StartError
from spillway.runtime import RuntimeFolder
from spillway.settings import ModelSettings, NetworkSettings, Settings
from spillway.supervisor.folder import claim
from spillway_wire.address import UnixAddress, parse_address


def test_every_incarnation_has_names_of_its_own() -> None:
    folder = RuntimeFolder(Path("/run/s"))
    assert folder.engine_socket("engine-0", 3) == Path("/run/s/engine-0.3.sock")
    assert folder.engine_address("engine-0", 3) == "unix:/run/s/engine-0.3.sock"
    assert folder.page("engine-0", 3) == Path("/run/s/engine-0.3.page")
    assert folder.tally("gateway-1", 2) == Path("/run/s/gateway-1.2.tally")


def test_a_path_too_long_for_sockets_is_refused_with_the_bound() -> None:
    longest = "/" + "x" * 74
    address = parse_address(RuntimeFolder(Path(longest)).engine_address("engine-999", 10**9))
    assert isinstance(address, UnixAddress)
    with pytest.raises(StartError, match=r"76 bytes long.*at most 75 bytes"):
        RuntimeFolder(Path(longest + "x"))


def test_settings_travel_through_the_folder_for_the_owner_alone(tmp_path: Path) -> None:
    folder = RuntimeFolder(tmp_path)
    settings = Settings(
        models=(ModelSettings(name="a", model="/m", aliases=("b",), engine={"dtype": "float32", "threads": 2}),),
        network=NetworkSettings(trusted_proxies=("10.0.0.0/8",)),
        redis="redis://:secret@elsewhere",
    )
    for given in (settings, replace(settings, chaos=True)):
        folder.write_settings(given)
        assert folder.read_settings() == given
    assert folder.settings_file.stat().st_mode & 0o777 == 0o600


def test_a_claimed_folder_is_private_and_goes_when_it_is_released() -> None:
    with tempfile.TemporaryDirectory() as short:  # pytest's own folders have names too long for another level or two
        owned = claim(f"{short}/a/b")
        path = owned.runtime.path
        assert path.stat().st_mode & 0o777 == 0o700
        assert owned.runtime.lock_file.read_text() == f"{os.getpid()}\n"
        owned.runtime.page("engine-0", 1).touch()
        owned.release()
        owned.release()
        assert not path.exists()


def test_a_folder_in_use_is_refused_with_the_pid_of_its_owner(tmp_path: Path) -> None:
    owned = claim(str(tmp_path))
    with pytest.raises(StartError, match=rf"in use by process {os.getpid()}; .*runtime_dir"):
        claim(str(tmp_path))
    owned.release()
    claim(str(tmp_path)).release()


def test_what_a_crash_left_is_cleaned_and_what_is_not_ours_is_kept(tmp_path: Path) -> None:
    for name in ("engine-0.3.sock", "engine-0.3.page", "gateway-0.1.tally", "settings.json", "lock", "precious.txt"):
        (tmp_path / name).write_text("left")
    owned = claim(str(tmp_path))
    assert {file.name for file in tmp_path.iterdir()} == {"lock", "precious.txt"}
    owned.release()
    assert {file.name for file in tmp_path.iterdir()} == {"precious.txt"}


def test_an_open_folder_is_closed_to_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    owned = claim(str(tmp_path))
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    owned.release()
    assert tmp_path.exists()


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StartError, match="belongs to somebody else"):
        claim(str(tmp_path / "link"))


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the system lets instances keep their folders."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


def test_without_a_setting_each_instance_has_a_folder_and_sweeps_those_of_crashes(base: Path) -> None:
    first = claim(None)
    crashed = base / "spillway" / "run-crashed"
    crashed.mkdir()
    (crashed / "redis.sock").touch()
    (crashed / "lock").touch()
    kept = base / "spillway" / "run-kept"
    kept.mkdir()
    (kept / "precious.txt").touch()
    second = claim(None)
    assert first.runtime.path != second.runtime.path
    assert not crashed.exists()
    assert (kept / "precious.txt").exists()
    assert first.runtime.path.exists()
    first.release()
    second.release()
    assert {entry.name for entry in (base / "spillway").iterdir()} == {"lock", "run-kept"}


def test_a_base_too_long_for_sockets_is_not_used(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = base / ("x" * 60)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    owned = claim(None)
    assert not owned.runtime.path.is_relative_to(base)
    owned.release()


def test_a_lock_file_that_was_removed_in_the_meantime_is_no_lock(tmp_path: Path) -> None:
    owned = claim(str(tmp_path))
    owned.runtime.lock_file.unlink()
    other = claim(str(tmp_path))  # whoever removes a lock file gives the folder up
    with pytest.raises(StartError, match="in use"):
        claim(str(tmp_path))
    other.release()
    owned.release()
