"""The state folder: what outlives a run of Spillway, and belongs to its user alone.

==================  ================================================================================================
`admin.key`         who may use ops' admin endpoints; made on first start, 0600
`instance.json`     where the instance that runs now can be reached; not there when none does
`slo.state`         what objectives remember: thirty days of sums, alerts (`spillway_slo.memory`)
`tenants.db`        tenants, their keys, what they used, and who changed what (`admission.identity.store`)
==================  ================================================================================================

It is `SPILLWAY_STATE_DIR`, else `spillway` in `XDG_STATE_HOME`, else in `~/.local/state`.
"""

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from spillway.errors import StartError

_KEY_BYTES: Final = 32
_PRIVATE: Final = stat.S_IRWXG | stat.S_IRWXO
"""Permissions that nobody but the owner may have."""


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running Spillway can be reached."""

    pid: int
    """Of its supervisor."""
    api: str
    """URL of the API, without a slash at its end."""
    ops: str
    """URL of the ops port, without a slash at its end."""
    tls_certificate: str | None = None
    """The certificate that both show, so that this machine's commands can trust just that one."""


class StateFolder:
    """Paths and contents; nothing is made before `create`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.key_file = path / "admin.key"
        self.instance_file = path / "instance.json"

    @classmethod
    def of(cls, state_dir: str | None, environment: Mapping[str, str]) -> "StateFolder":
        """Return the folder that the setting `state_dir` means."""
        if state_dir is not None:
            return cls(Path(state_dir).absolute())
        home = environment.get("XDG_STATE_HOME", "")
        # The XDG specification tells to ignore a relative path.
        return cls((Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state") / "spillway")

    def create(self) -> None:
        """Make the folder, 0700, and the admin key, if they are not there. Raises `StartError`."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._create_key()
        except OSError as error:
            raise StartError(
                f"the state folder {self.path} cannot be used ({error.strerror}); give another with --state-dir"
            ) from None

    def _create_key(self) -> None:
        if self.key_file.exists():
            return
        # Written whole under another name first: who reads it at the same moment never sees half a key, and of two
        # that start at the same moment one wins.
        draft = self.key_file.with_suffix(f".{os.getpid()}")
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(file, os.urandom(_KEY_BYTES).hex().encode() + b"\n")
            os.fsync(file)
        finally:
            os.close(file)
        with contextlib.suppress(FileExistsError):
            os.link(draft, self.key_file)
        draft.unlink()

    def admin_key(self) -> str:
        """Return the admin key. Raises `StartError` if it cannot be read, is too short, or others may read it."""
        try:
            mode = self.key_file.stat().st_mode
            key = self.key_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no ASCII text"
            raise StartError(f"the admin key {self.key_file} cannot be read: {reason}") from None
        if mode & _PRIVATE:
            raise StartError(f"others may read the admin key: run `chmod 600 {self.key_file}`")
        if len(key) < 16:
            raise StartError(f"the admin key {self.key_file} is shorter than 16 characters; remove it to get a new one")
        return key

    def announce(self, instance: Instance) -> None:
        """Say where the running instance can be reached."""
        draft = self.instance_file.with_suffix(f".{os.getpid()}")
        draft.write_bytes(msgspec.json.encode(instance))
        draft.replace(self.instance_file)

    def withdraw(self, pid: int) -> None:
        """Take back what the instance with this pid announced. Idempotent."""
        announced = self.instance()
        if announced is not None and announced.pid == pid:
            self.instance_file.unlink(missing_ok=True)

    def instance(self) -> Instance | None:
        """Return what was announced last; its process may be gone. None if nothing (that can be read) was."""
        try:
            return msgspec.json.decode(self.instance_file.read_bytes(), type=Instance)
        except (OSError, msgspec.MsgspecError, ValueError):
            return None
