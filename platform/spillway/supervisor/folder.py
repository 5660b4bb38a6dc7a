"""Who owns a runtime folder: whoever holds the lock on its `lock` file. Pids are only told to people.

Locks end with their holder, however it ends; so a folder that can be locked and is not ours is one of a crash, and is
cleaned. Without a setting each instance makes a folder of its own below a base of this user's, and sweeps the base of
what crashed instances left there.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from spillway.errors import StartError
from spillway.runtime import RuntimeFolder

OURS = (
    *("*.sock", "*.page", "*.tally", "*.series", "*.totals", "*.totals-new", "*.labels"),
    *("settings.json", "settings.new"),
)
"""What lies in a runtime folder; nothing else is ever removed."""

_LONGEST_BASE_BYTES = 48
"""Of the folder that the system gives us for such; sockets below a longer one might have no address."""


class Claim:
    """A runtime folder that is ours until `release`, or until this process ends. Make it with `claim`."""

    def __init__(self, runtime: RuntimeFolder, descriptor: int, *, made_here: bool) -> None:
        self.runtime = runtime
        self._descriptor = descriptor
        self._made_here = made_here

    def release(self) -> None:
        """Remove what is ours, the folder too if we made it, and give the lock back."""
        if self._descriptor < 0:
            return
        clean(self.runtime)
        self.runtime.lock_file.unlink(missing_ok=True)
        if self._made_here:
            with contextlib.suppress(OSError):  # somebody keeps something there
                self.runtime.path.rmdir()
        os.close(self._descriptor)
        self._descriptor = -1


def claim(setting: str | None) -> Claim:
    """Take the runtime folder of the setting, or one of our own. Raises `StartError`, naming who has it."""
    if setting is not None:
        path = Path(setting).expanduser().absolute()
        exists = path.exists()
        return _take(_private(path), made_here=not exists)
    base = _private(_base())
    with _locked(base / "lock"):  # no folder is swept between its making and its locking
        for folder in base.iterdir():
            if folder.is_dir():
                _sweep(RuntimeFolder(folder))
        return _take(Path(tempfile.mkdtemp(prefix="run-", dir=base)), made_here=True)


def clean(runtime: RuntimeFolder) -> None:
    """Remove what lies in a runtime folder."""
    for pattern in OURS:
        for file in runtime.path.glob(pattern):
            file.unlink(missing_ok=True)


def _base() -> Path:
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given and os.access(given, os.W_OK) and len(os.fsencode(given)) <= _LONGEST_BASE_BYTES:
        return Path(given) / "spillway"
    return Path("/tmp") / f"spillway-{os.getuid()}"  # noqa: S108 - checked by _private; the temporary folder may have a long path


def _private(path: Path) -> Path:
    """Make the folder if need be; nobody else may own or enter it."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise StartError(f"the runtime folder {path} cannot be made ({error.strerror}); set runtime_dir") from None
    if path.is_symlink() or found.st_uid != os.getuid():
        raise StartError(f"the runtime folder {path} belongs to somebody else; set runtime_dir to another path")
    if found.st_mode & 0o077:
        path.chmod(0o700)
    return path


def _take(path: Path, *, made_here: bool) -> Claim:
    runtime = RuntimeFolder(path)
    descriptor = _lock(runtime.lock_file)
    if descriptor is None:
        pid = runtime.lock_file.read_text(encoding="ascii", errors="replace").strip()
        raise StartError(
            f"the runtime folder {path} is in use by process {pid}; stop that instance, or set runtime_dir to "
            "another path"
        )
    clean(runtime)  # of a crash, if there is anything
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return Claim(runtime, descriptor, made_here=made_here)


def _sweep(runtime: RuntimeFolder) -> None:
    """Remove a folder below the base if nobody lives in it."""
    descriptor = _lock(runtime.lock_file)
    if descriptor is not None:
        Claim(runtime, descriptor, made_here=True).release()


def _lock(file: Path) -> int | None:
    """Return a descriptor that holds the lock, or None if another process does."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        with contextlib.suppress(FileNotFoundError):
            if file.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)  # its last holder has removed it in the meantime: that lock is nobody's any more


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
