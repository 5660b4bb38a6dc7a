"""Why a process ended: one cause each, and one line that says it to people.

The first that fits counts::

    it hung, and we killed it                                             hang
    it was not ready in time, and we killed it                            failed start
    its last words say out of memory, or device                           that
    SIGKILL that was not ours, and the kernel's count of such has risen   out of memory
    asked to end, and status 0 or our signal; or status 0 after ready     clean
    it was never ready                                                    failed start
    a signal                                                              signal
    anything else                                                         exception
"""

import re
import signal
from dataclasses import dataclass
from pathlib import Path

from spillway_wire.messages import LastWords
from spillway_wire.plane import ExitCause

_WORDS = {"out_of_memory": ExitCause.OUT_OF_MEMORY, "device": ExitCause.DEVICE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of an end."""

    status: int
    """As `subprocess` has it: the exit status, or the signal's number, negative."""
    was_ready: bool
    asked: bool = False
    """Whether we had asked it to end."""
    killed: bool = False
    """Whether we had killed it, because it took too long to end."""
    hung: str | None = None
    """Why we killed it, if we did because it hung."""
    words: LastWords | None = None
    last_error: str = ""
    """What it said on standard error, last."""
    kernel_kills: int = 0
    """How many processes the kernel has killed for want of memory in the meantime."""


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a process, explained."""

    cause: ExitCause
    message: str
    status: int
    """As `subprocess` has it."""


def explain(evidence: Evidence) -> Exit:
    """Name the cause and say it in one line."""
    if evidence.hung is not None:
        cause = ExitCause.HANG if evidence.was_ready else ExitCause.FAILED_START
        return Exit(cause, f"{evidence.hung}; killed", -signal.SIGKILL)
    how = _how(evidence.status)
    cause = _cause(evidence)
    if cause is ExitCause.OUT_OF_MEMORY and evidence.words is None:
        return Exit(cause, f"{how}: the kernel had no memory left for it", evidence.status)
    said = "" if cause in (ExitCause.CLEAN, ExitCause.SIGNAL) else evidence.last_error
    if evidence.words is not None and cause is not ExitCause.SIGNAL:
        said = f"{evidence.words.cause}: {evidence.words.message}"
    return Exit(cause, f"{how}: {said}" if said else how, evidence.status)


def _cause(evidence: Evidence) -> ExitCause:
    words = _WORDS.get(evidence.words.cause) if evidence.words is not None else None
    if words is not None:
        return words
    if evidence.status == -signal.SIGKILL and evidence.kernel_kills and not evidence.asked:
        return ExitCause.OUT_OF_MEMORY
    if _is_clean(evidence):
        return ExitCause.CLEAN
    if not evidence.was_ready:
        return ExitCause.FAILED_START
    return ExitCause.SIGNAL if evidence.status < 0 else ExitCause.EXCEPTION


def _is_clean(evidence: Evidence) -> bool:
    if evidence.status == 0:
        return evidence.asked or evidence.was_ready
    ours = (-signal.SIGTERM, -signal.SIGKILL) if evidence.killed else (-signal.SIGTERM,)
    return evidence.asked and evidence.status in ours


def _how(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


class KernelKills:
    """Reads how many processes the kernel has killed for want of memory where this process lives.

    Of its control group if that counts them, else of the machine; 0 for ever where neither can be read.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._file = _counting_file(root)

    def read(self) -> int:
        """Return the count so far."""
        return 0 if self._file is None else _count_in(self._file)


def _counting_file(root: Path) -> Path | None:
    groups = _control_groups(root / "proc/self/cgroup")
    mount = root / "sys/fs/cgroup"
    candidates = [
        *(mount / "memory" / group / "memory.oom_control" for kind, group in groups if kind == "memory"),
        *(mount / group / "memory.events" for kind, group in groups if not kind),
        root / "proc/vmstat",
    ]
    return next((file for file in candidates if _oom_kill(_read(file)) is not None), None)


def _control_groups(file: Path) -> list[tuple[str, str]]:
    """Return (controller, path) of each; the controller is empty for the unified hierarchy."""
    found = []
    for line in _read(file).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        found += [(controller, path.lstrip("/")) for controller in controllers.split(",")]
    return found


def _count_in(file: Path) -> int:
    return _oom_kill(_read(file)) or 0


def _oom_kill(text: str) -> int | None:
    found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return None if found is None else int(found[1])


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
