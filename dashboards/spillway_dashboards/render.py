"""Write the boards, and the table of metrics in the guide; or say what of them is not current.

::

    python -m spillway_dashboards.render            write
    python -m spillway_dashboards.render --check    change nothing; status 1 if a file is not current or breaks a rule
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from spillway_dashboards.boards import BOARDS
from spillway_dashboards.grafana import as_json, document
from spillway_dashboards.lint import faults
from spillway_dashboards.signals import with_table

ROOT: Final = Path(__file__).parents[2]
"""The repository."""
FOLDER: Final = Path("dashboards", "json")
GUIDE: Final = Path("docs", "operating.md")


def files(root: Path) -> Mapping[Path, str]:
    """Return what each file should hold, by its path.

    Raises OSError if the guide is not there, ValueError if it has no place for the table.
    """
    found = {root / FOLDER / f"{board.uid}.json": document(board) for board in BOARDS}
    guide = root / GUIDE
    return {**found, guide: with_table(guide.read_text(encoding="utf-8"))}


def stale(root: Path) -> Iterator[Path]:
    """Yield the files that are not what they should be, and boards that nothing renders any more."""
    wanted = files(root)
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            yield path
    yield from sorted(set((root / FOLDER).glob("*.json")) - set(wanted))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m spillway_dashboards.render", description=__doc__.partition(";")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; status 1 if something is not current")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    options = parser.parse_args(arguments)
    found = [f"{board.uid}: {fault}" for board in BOARDS for fault in faults(as_json(board))]
    try:
        if options.check:
            found += [f"{path}: not current; run python -m spillway_dashboards.render" for path in stale(options.root)]
        else:
            for path, text in files(options.root).items():
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        found.append(f"{error}; give the folder of a checkout by --root")
    sys.stderr.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
