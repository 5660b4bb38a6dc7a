"""A result as text: what a terminal shows at the end."""

from pathlib import Path

from spillway_load.errors import Exit
from spillway_load.result import Judged, LatencyRow, Result

_VERDICTS = {
    Exit.MET: "objectives met",
    Exit.MISSED: "objectives MISSED",
    Exit.INVALID: "INVALID: the generator lagged, so that this says nothing of the server",
}


def number(value: float | None) -> str:
    """Return a number for people; a dash for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def interval(judged: Judged) -> str:
    """Return what was measured, and between what it lies."""
    found = "never" if judged.measured is None else number(judged.measured)
    if judged.low is None and judged.high is None:
        return found
    return f"{found} [{number(judged.low)}, {'∞' if judged.high is None else number(judged.high)}]"


def summary(result: Result, out: Path | None = None) -> str:
    """Return the lines."""
    lines = ["", f"{result.campaign}: {_VERDICTS[Exit(result.exit)]}" + ("  (cut short)" if result.cut else "")]
    fates = "  ".join(f"{name} {count}" for name, count in result.fates.items() if count)
    lines += [f"  {result.arrivals} requests ({result.attempts} attempts) in {result.seconds:.1f} s: {fates}"]
    lines += [f"  good {result.good_per_s:.2f}/s, {result.tokens_per_s:,.0f} tokens/s"]
    lines += [_row(row) for row in result.latency if row.tier == "all" or row.measure in {"ttft", "tpot"}]
    pauses, lag = result.pauses, result.lag
    lines += [f"  longest pause {1000 * pauses.longest_s:.0f} ms, longest silence {1000 * pauses.silence_s:.0f} ms"]
    exact = result.exactness
    lines += [f"  exact {exact.exact} of {exact.checked}, inexact {exact.inexact}, model's mistakes {exact.mistakes}"]
    valid = "valid" if lag.valid else "INVALID"
    lines += [
        (
            f"  generator {valid}: lag p99 {number(lag.p99_ms)} ms, loop {number(lag.loop_p99_ms)} ms, "
            f"limit {number(lag.limit_ms)} ms; {lag.cpu_s:.1f} s of processor time; {lag.scheduling}"
        )
    ]
    if result.server.n:
        lines += [f"  TTFT less the server's own: {number(result.server.ttft_p50_difference_ms)} ms at the median"]
    for judged in result.objectives:
        mark = "met   " if judged.met else "MISSED"
        doubt = "" if judged.certain else "  (the interval says both)"
        lines.append(f"  {mark} {judged.text}: {interval(judged)}{doubt}")
    if result.levels is not None:
        lines.append(f"  highest rate that meets them: {number(result.highest_rate)} requests/s")
    lines += [
        f"  {name} = {formula}" for name, formula in result.formulas.items() if name in {"ttft", "tpot", "itl", "e2e"}
    ]
    lines += [f"  note: {note}" for note in result.notes]
    if out is not None:
        lines.append(f"  {out / 'report.html'}, result.json")
    return "\n".join([*lines, ""])


def _row(row: LatencyRow) -> str:
    values = "  ".join(f"{name} {number(getattr(row, name)):>7}" for name in ("p50", "p95", "p99", "max"))
    return f"  {row.measure:4} ms  {row.tier:8} {row.of:6} n {row.count:<7} {values}"
