"""The state folder: private, made once, and honest about what it holds."""

import os
import stat
from pathlib import Path

import pytest

from spillway.errors import StartError
from spillway.state import Instance, StateFolder


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "deep" / "state")
    folder.create()
    return folder


def test_its_place_is_the_setting_then_the_state_home_then_the_users() -> None:
    home = Path.home() / ".local" / "state" / "spillway"

    assert StateFolder.of("/given", {"XDG_STATE_HOME": "/home"}).path == Path("/given")
    assert StateFolder.of(None, {"XDG_STATE_HOME": "/home"}).path == Path("/home/spillway")
    assert StateFolder.of(None, {"XDG_STATE_HOME": "relative"}).path == home
    assert StateFolder.of(None, {}).path == home
    assert StateFolder.of("given", {}).path == Path.cwd() / "given"


def test_the_key_is_made_once_and_is_its_owners_alone(state: StateFolder) -> None:
    key = state.admin_key()
    state.create()

    assert state.admin_key() == key
    assert len(key) == 64
    assert stat.S_IMODE(state.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(state.key_file.stat().st_mode) == 0o600
    assert [file.name for file in state.path.iterdir()] == ["admin.key"]


def test_two_that_start_at_once_agree_on_one_key(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = state.admin_key()
    monkeypatch.setattr(Path, "exists", lambda _: False)  # the second one looked before the first one wrote

    state.create()

    assert state.admin_key() == first


def test_a_key_that_cannot_be_trusted_is_refused_with_what_to_do(state: StateFolder) -> None:
    state.key_file.chmod(0o640)
    with pytest.raises(StartError, match="chmod 600"):
        state.admin_key()

    state.key_file.chmod(0o600)
    state.key_file.write_text("short")
    with pytest.raises(StartError, match="remove it to get a new one"):
        state.admin_key()

    state.key_file.write_bytes(b"\xff" * 64)
    with pytest.raises(StartError, match="no ASCII text"):
        state.admin_key()

    state.key_file.unlink()
    with pytest.raises(StartError, match="cannot be read"):
        state.admin_key()


def test_an_instance_is_announced_and_withdrawn_by_its_own_process_alone(state: StateFolder) -> None:
    ours = Instance(pid=os.getpid(), api="http://a", ops="http://b")

    assert state.instance() is None
    state.announce(ours)
    assert state.instance() == ours

    state.withdraw(1)
    assert state.instance() == ours
    state.withdraw(ours.pid)
    state.withdraw(ours.pid)
    assert state.instance() is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff"])
def test_an_announcement_that_cannot_be_read_is_none(state: StateFolder, content: bytes) -> None:
    state.instance_file.write_bytes(content)

    assert state.instance() is None
