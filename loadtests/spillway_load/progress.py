"""How a run shows itself while it goes: a table on a terminal, lines of JSON for programs, plain lines, or nothing."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal, Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from spillway_load.reports import Told

How = Literal["live", "json", "lines", "none"]
_EVERY_S: Final = 5.0
"""Between plain lines."""


class Progress(Protocol):
    """Hears how a run goes."""

    def started(self, at: float) -> None:
        """The first request can be due at `at`, of the monotonic clock."""

    def tell(self, passed_s: float, told: Sequence[Told], total: int) -> None:
        """So far it is."""

    def say(self, line: str) -> None:
        """A line that stays."""

    def end(self) -> None:
        """Leave what stands."""


def progress(how: How, stream: TextIO, name: str) -> Progress:
    """Return the kind that was asked for."""
    return {"live": _Live, "json": _Json, "lines": _Lines, "none": _Nothing}[how](stream, name)


def _fates(told: Sequence[Told]) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in told:
        total.update(each.fates)
    return total


class _Nothing:
    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name = stream, name

    def started(self, at: float) -> None:
        pass

    def tell(self, passed_s: float, told: Sequence[Told], total: int) -> None:
        pass

    def say(self, line: str) -> None:
        pass

    def end(self) -> None:
        pass


class _Json(_Nothing):
    def started(self, at: float) -> None:
        self._write({"started": at, "started_unix": time.time() - time.monotonic() + at})

    def tell(self, passed_s: float, told: Sequence[Told], total: int) -> None:
        fates = _fates(told)
        facts = {"t": round(passed_s, 2), "due": sum(each.due for each in told), "of": total}
        facts["open"] = sum(each.open for each in told)
        facts |= {name: fates[name] for name in ("good", "late", "slow", "inexact", "failed", "refused", "unfinished")}
        facts["pieces"] = sum(each.pieces for each in told)
        facts["worst_lag_ms"] = round(1000 * max(each.worst_lag_s for each in told), 2)
        self._write(facts)

    def _write(self, facts: dict[str, float]) -> None:
        self._stream.write(json.dumps(facts) + "\n")
        self._stream.flush()


class _Lines(_Nothing):
    _last = -_EVERY_S

    def tell(self, passed_s: float, told: Sequence[Told], total: int) -> None:
        if passed_s - self._last >= _EVERY_S:
            self._last = passed_s
            fates = _fates(told)
            counts = "  ".join(f"{name} {count}" for name, count in fates.most_common())
            self.say(f"{self._name}  {passed_s:6.0f} s  {sum(each.due for each in told)}/{total} sent  {counts}")

    def say(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class _Live(_Nothing):
    def __init__(self, stream: TextIO, name: str) -> None:
        super().__init__(stream, name)
        self._console = Console(file=stream)
        self._live = Live(console=self._console, refresh_per_second=4)
        self._pieces, self._at = 0, 0.0
        self._live.start()

    def tell(self, passed_s: float, told: Sequence[Told], total: int) -> None:
        fates, due = _fates(told), sum(each.due for each in told)
        pieces = sum(each.pieces for each in told)
        elapsed = max(1e-3, passed_s - self._at)
        per_s = (pieces - self._pieces) / elapsed
        if elapsed >= 0.5:
            self._pieces, self._at = pieces, passed_s
        table = Table(box=None, pad_edge=False, header_style="bold")
        columns = ("", "sent", "open", "good", "late", "slow", "refused", "failed", "inexact", "pieces/s", "worst lag")
        for column in columns:
            table.add_column(column, justify="left" if not column else "right", no_wrap=True)
        failed = fates["failed"] + fates["unfinished"]
        table.add_row(
            f"{self._name} {max(0.0, passed_s):.0f} s",
            f"{due}/{total}",
            str(sum(each.open for each in told)),
            *(str(fates[name]) for name in ("good", "late", "slow", "refused")),
            f"[red]{failed}[/]" if failed else "0",
            f"[bold red]{fates['inexact']}[/]" if fates["inexact"] else "0",
            f"{per_s:,.0f}",
            f"{1000 * max(each.worst_lag_s for each in told):.1f} ms",
        )
        grid = Table.grid()
        grid.add_row(table)
        grid.add_row(ProgressBar(total=max(1, total), completed=due, width=78))
        self._live.update(grid)

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)

    def end(self) -> None:
        self._live.stop()
