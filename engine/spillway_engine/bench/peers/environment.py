"""The virtual environments of peers whose dependencies contradict ours: made on demand, once per lock file.

Everything comes from the package index through pip. A finished environment carries a stamp of what it was made from,
so one that was interrupted, or made from an older lock file, is made again.
"""

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

INSTALL_TIMEOUT_S = 3600
DEFAULT_ROOT = Path(".bench/venvs")
STAMP = "made-from.sha256"


class EnvironmentFailed(Exception):  # noqa: N818 - it names what happened, as EngineDied would
    """An environment could not be made; the message is pip's last word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to make one environment: its name and a pip requirements file of every package at its exact version.

    The file is installed without dependency resolution. Peers pin packages that this bench never touches, in builds
    that contradict each other; what is not in the file is not installed.
    """

    name: str
    lock: Path

    @property
    def digest(self) -> str:
        """Changes with the lock file and with the interpreter."""
        return hashlib.sha256(self.lock.read_bytes() + sys.version.encode()).hexdigest()


def ensure_environment(recipe: Recipe, root: Path) -> Path:
    """Return the interpreter of the recipe's environment under `root`, made first unless it is there.

    Raises EnvironmentFailed when it cannot be made.
    """
    folder = root.absolute() / recipe.name
    interpreter, stamp = folder / "bin" / "python", folder / STAMP
    digest = recipe.digest
    if stamp.is_file() and stamp.read_text() == digest:
        return interpreter
    shutil.rmtree(folder, ignore_errors=True)
    _call(sys.executable, "-m", "venv", str(folder))
    _call(str(interpreter), "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", str(recipe.lock))
    stamp.write_text(digest)
    return interpreter


def current_environment(_root: Path) -> Path:
    """Return the interpreter of this process, for peers that are among our own dependencies."""
    return Path(sys.executable)


def _call(*command: str) -> None:
    try:
        subprocess.run(  # noqa: S603 - the commands are made above, from lock files of this package
            command, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
        )
    except subprocess.CalledProcessError as error:
        raise EnvironmentFailed(f"{' '.join(command[1:4])}: {last_line(error.stderr)}") from error
    except (subprocess.TimeoutExpired, OSError) as error:
        raise EnvironmentFailed(str(error)) from error


def last_line(text: str) -> str:
    """Return the last line that says something, at most 300 characters of it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing was printed"
