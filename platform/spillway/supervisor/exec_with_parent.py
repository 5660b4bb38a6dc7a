"""`python -m spillway.supervisor.exec_with_parent PARENT_PID PROGRAM ARGUMENT…`: a foreign program, tied to its parent.

What asks the kernel for the parent-death signal must be the child itself; a program that does not know of it (Redis)
is started through this one, which asks and then becomes that program: the wish outlives `exec`.
"""

import os
import sys
from collections.abc import Sequence

from spillway_wire.parent import ParentGoneError, tie_to_parent

EXIT_ORPHAN = 1
EXIT_NOT_FOUND = 127


def tied_to(parent_pid: int) -> tuple[str, ...]:
    """Return what to put before a command so that it dies with its parent."""
    return (sys.executable, "-m", "spillway.supervisor.exec_with_parent", str(parent_pid))


def main(arguments: Sequence[str]) -> int:
    """Become the program; return only if that is impossible."""
    parent_pid, program, *rest = arguments
    try:
        tie_to_parent(int(parent_pid))
        os.execvp(program, [program, *rest])  # noqa: S606 - a program with its arguments, no shell
    except ParentGoneError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_ORPHAN
    except OSError as error:
        sys.stderr.write(f"{program}: {error}\n")
        return EXIT_NOT_FOUND


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
