"""A bound on the values of a label that all processes of an instance share: the first so many get names of their own.

The book is a file to which names are added, one a line, under a lock that ends with its holder. So every gateway gives
the same tenant the same label, before and after anybody's death, and the bound holds for all of them together. Looking
up a name that is known costs nothing; a new one, one look at the file.
"""

import fcntl
import os
from pathlib import Path
from typing import Final

_MODE: Final = 0o600


class LabelBook:
    """Which names are labels of their own."""

    def __init__(self, path: Path | None, *, most: int, other: str) -> None:
        """Share the book at `path`, or keep one alone. `other` stands for all names beyond the first `most`."""
        self._path, self._most, self._other = path, most, other
        self._own: dict[str, str] = {}
        self._is_full = False

    def label(self, name: str) -> str:
        """Return the label that stands for `name`."""
        own = self._own.get(name)
        if own is not None:
            return own
        if self._is_full or not name or "\n" in name:
            return self._other
        self._learn(name)
        return self._own.get(name, self._other)

    def _learn(self, name: str) -> None:
        """Read what others have added, and add `name` if there is room."""
        if self._path is None:
            self._note([*self._own, name])
            return
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        except OSError:
            return  # told as `other` for once
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a stopped holder must not stop us
            whole, _, torn = os.pread(descriptor, os.fstat(descriptor).st_size, 0).rpartition(b"\n")
            known = [line.decode() for line in whole.split(b"\n") if line]
            if name not in known and len(known) < self._most:
                line = name.encode() + b"\n"
                end = os.fstat(descriptor).st_size - len(torn)  # over what somebody died in the midst of writing
                if os.pwrite(descriptor, line, end) == len(line):
                    os.ftruncate(descriptor, end + len(line))
                    known.append(name)
            self._note(known)
        except (OSError, UnicodeError):
            return
        finally:
            os.close(descriptor)

    def _note(self, names: list[str]) -> None:
        self._own = {name: name for name in names[: self._most]}
        self._is_full = len(self._own) >= self._most
