"""A tenant with quotas wide enough for any drill: only to have every request ask Redis."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from spillway_chaos.errors import StageError

NAME: Final = "drill"
_QUOTAS: Final = ("--tier", "gold", "--rpm", "1000000", "--tpm", "1000000000", "--concurrent", "10000")


def make(folder: Path) -> tuple[Path, dict[str, str]]:
    """Make it in a stage's state folder; return the file with its key, for the load, and its headers."""
    command = [sys.executable, "-m", "spillway", "tenants", "add", NAME, *_QUOTAS]
    command += ["--state-dir", str(folder / "state")]
    made = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    key = made.stdout.strip()
    if made.returncode or not key:
        raise StageError(f"the tenant {NAME} cannot be made: {made.stderr.strip() or made.stdout.strip()}")
    file = folder / "keys.toml"
    file.touch(mode=0o600)
    file.write_text(f'{NAME} = "{key}"\n', encoding="utf-8")
    return file, {"authorization": f"Bearer {key}"}
