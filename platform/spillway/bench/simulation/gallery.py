"""Which plots the docs have, and the runs that they show."""

from spillway.bench.simulation import scenarios
from spillway.bench.simulation.figures import figures, per_second
from spillway.bench.simulation.plots import Series, plot
from spillway.bench.simulation.world import Run, simulate

LEVELS = (0.5, 0.8, 1.0, 1.5, 2.0, 4.0, 7.0, 10.0)


def gallery() -> dict[str, str]:
    """Return SVG documents by file name. The same each time: the scenarios have seeds."""
    step = simulate(scenarios.level(4.0))
    return {
        "goodput.svg": _goodput(),
        "step.svg": _asked_and_good("From half the capacity to four times, at 10 s", step),
        "queue.svg": _queue("The same step: how old the queue is, and the brownout", step),
        "outage.svg": _asked_and_good(
            "One of two engines is lost at 20 s and back at 30 s", simulate(scenarios.outage())
        ),
        "returns.svg": _returns(),
    }


def _goodput() -> str:
    found = {times: figures(simulate(scenarios.level(times)), scenarios.WARM_S) for times in LEVELS}
    capacity = scenarios.capacity([scenarios.SMALL])
    return plot(
        "Goodput under overload",
        [
            Series(name="good", points=[(times, each.goodput_per_s) for times, each in found.items()]),
            Series(name="capacity", points=[(times, capacity) for times in LEVELS], dashed=True),
        ],
        x="arrivals, in parts of the capacity",
        y="requests per second within their objectives",
    )


def _asked_and_good(title: str, run: Run) -> str:
    seconds = per_second(run)
    return plot(
        title,
        [
            Series(name="asked", points=[(at, asked) for at, asked, _ in seconds], dashed=True),
            Series(name="good", points=[(at, good) for at, _, good in seconds]),
        ],
        x="seconds",
        y="requests by their second of arrival",
    )


def _queue(title: str, run: Run) -> str:
    return plot(
        title,
        [
            Series(name="oldest, s", points=[(each.at, each.oldest_s) for each in run.samples]),
            Series(name="objective, s", points=[(each.at, 1.0) for each in run.samples], dashed=True),
            Series(name="pressure", points=[(each.at, each.pressure) for each in run.samples]),
            Series(name="brownout steps", points=[(each.at, each.level) for each in run.samples]),
        ],
        x="seconds",
        y="seconds, and parts of what is allowed",
    )


def _returns() -> str:
    run = simulate(scenarios.returns())
    seconds = int(run.scenario.duration_s) + 60
    first, second = [0] * seconds, [0] * seconds
    for request in run.requests:
        if request.admitted_at is not None and int(request.admitted_at) < seconds:
            (first if request.tries == 1 else second)[int(request.admitted_at)] += 1
    refused = [0] * seconds
    for at, _, _ in run.refusals:
        if int(at) < seconds:
            refused[int(at)] += 1
    return plot(
        "Ten seconds at four times the capacity; who is refused comes back when told",
        [
            Series(name="refused", points=list(enumerate(refused)), dashed=True),
            Series(name="in at the first try", points=list(enumerate(first))),
            Series(name="in on return", points=list(enumerate(second))),
        ],
        x="seconds",
        y="requests per second",
    )
