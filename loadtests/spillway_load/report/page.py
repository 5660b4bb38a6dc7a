"""A result as one HTML page: the verdict, the numbers with their intervals, and plots. It loads nothing."""

import itertools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

import numpy as np

from spillway_load import intervals
from spillway_load.errors import Exit
from spillway_load.objectives import FORMULAS
from spillway_load.record import SERVED
from spillway_load.report import text
from spillway_load.report.plots import COLOURS, Bars, Line, lines, stacked
from spillway_load.result import Judged, Level, Result
from spillway_load.series import Series

_BINS: Final = 16
_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1c1f24;--soft:#626a76;--edge:#d9dde3;--page:#fff;--good:#15803d;--bad:#c21d1d}
@media(prefers-color-scheme:dark){:root{--ink:#e7eaee;--soft:#9aa3af;--edge:#343a43;--page:#14171b;--good:#4ade80;
--bad:#f87171}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:920px;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}p{margin:.3rem 0}.soft{color:var(--soft)}
.verdict{font-weight:600}.good{color:var(--good)}.bad{color:var(--bad)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem .25rem 0;text-align:right;border-bottom:1px solid var(--edge);white-space:nowrap}
th{font-weight:600;color:var(--soft)}th:first-child,td:first-child{text-align:left;white-space:normal}
.wide{overflow-x:auto}svg{width:100%;height:auto;margin:.6rem 0}
svg text{font:12px system-ui,sans-serif;fill:var(--soft)}
svg .title{font-weight:600;fill:var(--ink)}svg .grid{stroke:var(--edge);fill:none}code{font-size:.9em}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:1rem;margin:1.2rem 0}
.facts b{display:block;font-size:1.35rem}
"""


def page(result: Result, series: Series) -> str:
    """Return the page."""
    parts = [
        *_head(result),
        *_facts(result),
        "<h2>Objectives</h2>",
        _objectives(result.objectives),
        *(_levels(result) if result.levels is not None else ()),
        "<h2>Over time</h2>",
        *_over_time(result),
        "<h2>Against load</h2>",
        _against_load(series),
        "<h2>Latency</h2>",
        _latency(result),
        "<h2>Requests</h2>",
        _requests(result),
        "<h2>Generator and server</h2>",
        _generator(result),
        "<h2>Formulas</h2>",
        _table(("measure", ""), ((name, escape(formula)) for name, formula in FORMULAS.items())),
    ]
    title = escape(f"{result.campaign}: load report")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )


def _head(result: Result) -> Iterable[str]:
    when = datetime.fromtimestamp(result.started_unix, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    verdict = {
        Exit.MET: ("good", "All objectives met"),
        Exit.MISSED: ("bad", "Objectives missed"),
        Exit.INVALID: ("bad", "Invalid: the generator lagged, so that this says nothing of the server"),
    }[Exit(result.exit)]
    yield f"<h1>{escape(result.campaign)}</h1><p>{escape(result.about)}</p>"
    yield f'<p class="verdict {verdict[0]}">{verdict[1]}{" (cut short)" if result.cut else ""}</p>'
    yield f'<p class="soft">{escape(result.url)}, {when}, seed {result.seed}</p>'
    for note in result.notes:
        yield f'<p class="soft">{escape(note)}</p>'


def _facts(result: Result) -> Iterable[str]:
    good = result.shares["good"]
    low, high = result.good_per_s_interval
    exact = result.exactness
    facts = [
        (f"{result.arrivals:,}", f"requests in {result.seconds:.1f} s"),
        (_percent(good.value), f"good [{_percent(good.low)}, {_percent(good.high)}]"),
        (f"{result.good_per_s:.2f}/s", f"goodput [{text.number(low)}, {text.number(high)}]"),
        (f"{result.tokens_per_s:,.0f}/s", "output tokens"),
        (f"{exact.exact:,} of {exact.checked:,}", "answers exact"),
        (f"{1000 * result.pauses.longest_s:.0f} ms", "longest pause of a stream"),
    ]
    if result.levels is not None:
        facts.insert(0, (f"{text.number(result.highest_rate)}/s", "highest rate that meets the objectives"))
    yield '<div class="facts">'
    yield from (f"<div><b>{escape(value)}</b>{escape(name)}</div>" for value, name in facts)
    yield "</div>"


def _objectives(objectives: Sequence[Judged]) -> str:
    rows = (
        (
            escape(each.text),
            text.interval(each),
            f'<span class="{"good" if each.met else "bad"}">{"met" if each.met else "missed"}</span>'
            + ("" if each.certain else " (the interval says both)"),
            escape(each.method),
        )
        for each in objectives
    )
    return _table(("objective", "measured [95 %]", "", "interval by"), rows)


def _levels(result: Result) -> Iterable[str]:
    levels: list[Level] = sorted(result.levels or [], key=lambda level: level.rate)
    yield "<h2>Saturation search</h2>"
    yield lines(
        "Time to first token against the rate asked for",
        [
            Line(name=name, points=[(level.rate, getattr(level, f"ttft_{name}_ms")) for level in levels], colour=colour)
            for name, colour in zip(("p50", "p95", "p99"), COLOURS, strict=False)
        ],
        x="requests a second asked for",
        y="ms",
    )
    yield lines(
        "Goodput against the rate asked for",
        [
            Line(name="good", points=[(level.rate, level.good_per_s) for level in levels], colour=COLOURS[2]),
            Line(
                name="asked", points=[(level.rate, level.rate) for level in levels], colour=COLOURS[7], is_dotted=True
            ),
        ],
        x="requests a second asked for",
        y="requests/s",
    )
    yield _table(
        ("requests/s", "", "good/s", "good", "refused", "TTFT p50 ms", "p95 ms", "p99 ms", "missed"),
        (
            (
                text.number(level.rate),
                "met" if level.met else "missed",
                text.number(level.good_per_s),
                _percent(level.good_share),
                _percent(level.shed_share),
                *(text.number(value) for value in (level.ttft_p50_ms, level.ttft_p95_ms, level.ttft_p99_ms)),
                escape("; ".join(level.missed)) + ("" if level.valid else " invalid: the generator lagged"),
            )
            for level in levels
        ),
    )
    shown = "the highest rate that met the objectives" if result.highest_rate is not None else "the last rate tried"
    yield f'<p class="soft">What follows is of {shown}.</p>'


def _over_time(result: Result) -> Iterable[str]:
    seconds = result.timeline
    blue, orange, green, ochre, violet, red, *_ = COLOURS

    def line(name: str, field: str, colour: str) -> Line:
        return Line(name=name, points=[(each.second, getattr(each, field)) for each in seconds], colour=colour)

    yield lines(
        "Time to first token, by when a request was due",
        [line("p50", "ttft_p50_ms", blue), line("p95", "ttft_p95_ms", orange)],
        x="s",
        y="ms",
    )
    yield lines("End to end, p95, by when a request was due", [line("p95", "e2e_p95_ms", violet)], x="s", y="ms")
    other = [max(0, each.ended - each.good - each.refused - each.failed) for each in seconds]
    yield stacked(
        "How requests ended, by when",
        [
            Bars(name="good", heights=[each.good for each in seconds], colour=green),
            Bars(name="late, slow, left", heights=other, colour=ochre),
            Bars(name="refused", heights=[each.refused for each in seconds], colour=blue),
            Bars(name="failed, inexact", heights=[each.failed for each in seconds], colour=red),
        ],
        x="s",
        y="requests",
    )
    yield lines("Tokens that came", [line("tokens/s", "tokens", green)], x="s", y="tokens/s")
    yield lines(
        "Asked, and under way",
        [line("due in it", "due", blue), line("open at its end", "open", orange)],
        x="s",
        y="requests",
    )


def _against_load(series: Series) -> str:
    served = series.of(*SERVED)
    if not served:
        return "<p>No answer came whole.</p>"
    begun = np.sort([record.begun_s for record in series.records])
    ended = np.sort([record.ended_s for record in series.records])
    at = np.array([record.begun_s for record in served])
    load = np.searchsorted(begun, at, side="right") - np.searchsorted(ended, at, side="right")
    ttft = np.array([(record.ttft_s or 0.0) * 1000 for record in served])
    edges = np.unique(np.linspace(load.min(), load.max() + 1, _BINS + 1).astype(int))
    bins = [(low, ttft[(load >= low) & (load < high)]) for low, high in itertools.pairwise(edges)]
    filled = [(float(low), values) for low, values in bins if len(values)]
    return lines(
        "Time to first token against requests under way when it was sent",
        [
            Line(
                name=f"p{percent}",
                points=[
                    (low, float(np.sort(values)[intervals.rank(percent, len(values)) - 1])) for low, values in filled
                ],
                colour=colour,
            )
            for percent, colour in zip((50, 95), COLOURS, strict=False)
        ],
        x="requests under way",
        y="ms",
    )


def _latency(result: Result) -> str:
    rows = (
        (
            f"{row.measure} of {row.tier}, {row.of}",
            f"{row.count:,}",
            *(
                f'<span title="95 %: {text.number(row.intervals[name][0])} to {text.number(row.intervals[name][1])}">'
                f"{text.number(getattr(row, name))}</span>"
                for name in ("p50", "p90", "p95", "p99", "p999")
            ),
            "-" if row.intervals["p99"][0] is None else " to ".join(map(text.number, row.intervals["p99"])),
            text.number(row.max),
        )
        for row in result.latency
    )
    told = f'<p class="soft">Milliseconds; a dash: never, or not known. Intervals: {intervals.PERCENTILE_METHOD}.</p>'
    return told + _table(("", "n", "p50", "p90", "p95", "p99", "p99.9", "p99 between", "max"), rows)


def _requests(result: Result) -> str:
    shares = _table(
        ("share", "", "95 %", "of"),
        (
            (name, _percent(row.value), f"{_percent(row.low)} to {_percent(row.high)}", f"{row.count:,} of {row.of:,}")
            for name, row in result.shares.items()
        ),
    )
    fates = _table(("what it was worth", "requests"), ((name, f"{n:,}") for name, n in result.fates.items()))
    outcomes = _table(("how it ended", "requests"), ((escape(name), f"{n:,}") for name, n in result.outcomes.items()))
    examples = "".join(
        f"<p><code>{escape(each['prompt'])}</code> should be <code>{escape(each['expected'])}</code> and was "
        f"<code>{escape(each['got'])}</code></p>"
        for each in result.exactness.examples
    )
    return shares + fates + outcomes + examples


def _generator(result: Result) -> str:
    lag, server = result.lag, result.server
    return _table(
        ("", ""),
        (
            ("lag: taken up after it was due, p50, p99, worst, ms", f"{lag.p50_ms:g}, {lag.p99_ms:g}, {lag.max_ms:g}"),
            ("lag of its loop, p99, ms", f"{lag.loop_p99_ms:g}"),
            ("most that is valid, ms", f"{lag.limit_ms:g}"),
            ("processor time, s", f"{lag.cpu_s:g}"),
            ("scheduling", escape(lag.scheduling)),
            (
                "TTFT less the server's own account, median and p99 of its size, ms",
                f"{text.number(server.ttft_p50_difference_ms)}, {text.number(server.ttft_abs_p99_ms)} (n {server.n:,})",
            ),
        ),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table; cells are HTML."""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{"".join(f"<th>{name}</th>" for name in head)}</tr>{body}</table></div>'


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.4g} %"
