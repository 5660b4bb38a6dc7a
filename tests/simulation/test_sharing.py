"""Who gets what there is, in virtual time: bands, tenants, and those who were told to come back."""

from dataclasses import replace

import pytest

from spillway.bench.simulation.figures import figures
from spillway.bench.simulation.gallery import gallery
from spillway.bench.simulation.plots import Series, nice, plot
from spillway.bench.simulation.scenarios import WARM_S, fairness, priorities, returns
from spillway.bench.simulation.world import Run, Scenario, simulate

SEEDS = (1, 2, 3, 4)


def runs(scenario: Scenario) -> list[Run]:
    return [simulate(replace(scenario, seed=seed)) for seed in SEEDS]


def test_a_tenth_that_is_interactive_does_not_notice_four_times_the_load() -> None:
    good = asked = 0
    for run in runs(priorities()):
        people, jobs = figures(run, WARM_S, of="people"), figures(run, WARM_S, of="jobs")
        good, asked = good + people.good, asked + people.asked
        assert jobs.goodput_per_s > people.goodput_per_s  # the rest is not starved
        assert jobs.good < 0.3 * jobs.asked  # and gives way
    assert good >= 0.99 * asked


def served(run: Run, tenant_id: str) -> int:
    """Tokens of those whose first token came while both tenants asked for more than there was."""
    return sum(
        request.prompt_tokens + 2 * request.output_tokens
        for request in run.requests
        if request.source.tenant_id == tenant_id and request.first_at is not None and request.first_at > WARM_S + 5.0
    )


def test_who_asks_ten_times_as_much_gets_no_more() -> None:
    differences = []
    for seed in (*SEEDS, 101, 103):
        run = simulate(replace(fairness(), seed=seed))
        modest, greedy = served(run, "modest"), served(run, "greedy")
        differences.append(abs(greedy - modest) / greedy)
    assert max(differences) <= 0.1


@pytest.mark.parametrize("gateways", [1, 3])
def test_who_comes_back_when_told_gets_in(gateways: int) -> None:
    shares = []
    for run in runs(returns(gateways=gateways)):
        refused = [request for request in run.requests if request.refusals]
        assert len(refused) > 200
        shares.append(sum(each.tries == 2 and each.admitted_at is not None for each in refused) / len(refused))
        assert figures(run, WARM_S).p99_ttft_s <= 2.0
    assert min(shares) >= 0.8


def test_who_does_not_obey_gains_nothing() -> None:
    for run in runs(returns(obeys=False)):
        refused = [request for request in run.requests if request.refusals]
        assert sum(request.good for request in refused) < 0.2 * len(refused)
        assert figures(run, WARM_S).reasons["retry_budget"] > 50
        assert figures(run, WARM_S + 12.0).good == figures(run, WARM_S + 12.0).asked  # the burst leaves no trace


def test_plots_are_documents() -> None:
    drawn = gallery()
    assert sorted(drawn) == ["goodput.svg", "outage.svg", "queue.svg", "returns.svg", "step.svg"]
    assert all(text.startswith("<svg ") and text.endswith("</svg>\n") for text in drawn.values())


def test_a_plot_has_round_numbers_and_needs_points() -> None:
    assert [nice(value) for value in (0.9, 1.0, 3.0, 41.0)] == [1.0, 1.0, 4.0, 80.0]
    assert "&lt;b&gt;" in plot("<b>", [Series(name="a", points=[(0.0, 1.0), (1.0, 2.0)])], x="x", y="y")
    with pytest.raises(ValueError, match="nothing to plot"):
        plot("empty", [], x="x", y="y")
