"""The drills on made-up runs, the file that the platform is given, and the command line."""

import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from spillway.admission.contract import Objective
from spillway.bench.overload import drills, measuring
from spillway.bench.overload.command import main
from spillway.bench.overload.configuration import Configuration
from spillway.bench.overload.measuring import Bench
from spillway.bench.overload.plan import Plan, Record, Run, Shot
from spillway.bench.overload.work import NOBODY, TokenWork
from spillway.settings import Settings

OBJECTIVE = Objective(ttft_s=1.0, tpot_s=0.1)
GOLD = Settings().tiers["gold"]


@dataclass
class Nobody:
    """A target that is never asked."""

    name: str = "nobody"
    address: tuple[str, int] = ("127.0.0.1", 1)
    times_idle: int = field(default=0)

    def wait_until_idle(self) -> None:
        self.times_idle += 1


def bench() -> Bench:
    return Bench(target=Nobody(), work=TokenWork("small", 100), objective=OBJECTIVE, bulk_ttft_s=10.0, seed=1)


def answer(shot: Shot, *, attempt: int = 0, due_s: float | None = None, ttft_s: float = 0.5) -> Record:
    due_s = shot.due_s if due_s is None else due_s
    return Record(
        number=shot.number, group=shot.group, attempt=attempt, due_s=due_s, sent_s=due_s, ended_s=due_s + ttft_s + 0.05,
        status=200, events_s=[due_s + ttft_s, due_s + ttft_s + 0.05], prompt_tokens=10, output_tokens=2,
        is_done=True, is_exact=True,
    )  # fmt: skip


def refusal(shot: Shot, *, attempt: int = 0, due_s: float | None = None, **told: Any) -> Record:
    due_s = shot.due_s if due_s is None else due_s
    return Record(
        number=shot.number, group=shot.group, attempt=attempt, due_s=due_s, sent_s=due_s, ended_s=due_s + 0.001,
        status=429, **told,
    )  # fmt: skip


@contextmanager
def server(monkeypatch: pytest.MonkeyPatch, serve: Callable[[Shot], list[Record]]) -> Iterator[list[Plan]]:
    """Stand in for generators and server: each shot has the records that `serve` gives it."""
    plans: list[Plan] = []

    def fire(plan: Plan, _: int) -> Run:
        plans.append(plan)
        return Run([record for shot in plan.shots for record in serve(shot)], 100.0, 0.1, "as usual")

    with monkeypatch.context() as patched:
        patched.setattr(measuring, "fire", fire)
        yield plans


def held(found: drills.Found) -> list[bool]:
    return [promise.held for promise in found.promises]


def test_tokens_are_served_with_the_first_token_and_as_they_come() -> None:
    (shot,) = TokenWork("small", 100).shots([(1.0, NOBODY)], "one")
    records = [answer(shot)]  # tokens at 1.5 and 1.55, after a prompt of 10
    assert drills.served_tokens(records, 0.0, 2.0) == 12
    assert drills.served_tokens(records, 1.52, 2.0) == 1
    assert drills.served_tokens(records, 0.0, 1.5) == 0


def test_interactive_must_be_good_and_bulk_must_not_starve(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_interactive(shot: Shot) -> list[Record]:
        return [answer(shot)] if shot.group == drills.PRIORITY else [refusal(shot)]

    def slow_interactive(shot: Shot) -> list[Record]:
        return [answer(shot, ttft_s=5.0)]  # within the objective of bulk alone

    with server(monkeypatch, only_interactive) as plans:
        assert held(drills.priorities(bench(), 10.0, 20.0)) == [True, False]
    assert [sum(shot.group == drills.PRIORITY for shot in plan.shots) for plan in plans] == [80, 400]
    assert [len(plan.shots) for plan in plans] == [800, 800]
    with server(monkeypatch, slow_interactive):
        found = drills.priorities(bench(), 10.0, 20.0)
    assert held(found) == [False, True]
    assert {level.name: level.good_share for level in found.levels}["bulk, 10% interactive"] == 1.0


def test_two_tenants_are_served_alike_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {name: f"key-of-{name}" for name in drills.TENANTS}

    def alike(shot: Shot) -> list[Record]:
        return [answer(shot)] if shot.group == "modest" or shot.number % 10 == 0 else [refusal(shot)]

    with server(monkeypatch, alike) as plans:
        assert held(drills.fairness(bench(), keys, 100.0, 20.0)) == [True]
    assert {shot.group: shot.headers for shot in plans[0].shots} == {
        name: {"Authorization": f"Bearer key-of-{name}"} for name in drills.TENANTS
    }
    with server(monkeypatch, lambda shot: [answer(shot)]):
        assert held(drills.fairness(bench(), keys, 100.0, 20.0)) == [False]


def test_of_those_who_come_back_when_told_four_in_five_must_get_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_in(every: int) -> Callable[[Shot], list[Record]]:
        def serve(shot: Shot) -> list[Record]:
            if shot.due_s >= drills.BURST_S:
                return [answer(shot)]
            again = refusal if shot.number % every == 0 else answer
            return [refusal(shot, retry_after_s=2.0), again(shot, attempt=1, due_s=shot.due_s + 2)]

        return serve

    with server(monkeypatch, one_in(10)) as plans:
        found = drills.retries(bench(), 10.0, 20.0)
    assert held(found) == [True]
    assert plans[0].retries == 2
    assert (found.rows[0]["refused"], found.rows[0]["came back"], found.rows[0]["got in"]) == (400, 400, 360)
    with server(monkeypatch, one_in(2)):
        assert held(drills.retries(bench(), 10.0, 20.0)) == [False]


def test_where_nobody_comes_back_retry_after_has_not_shown_that_it_is_honest(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(monkeypatch, lambda shot: [refusal(shot, should_retry=False)]):
        assert held(drills.retries(bench(), 10.0, 20.0)) == [False]


def test_a_burst_may_be_refused_but_not_be_accepted_and_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(shot: Shot) -> list[Record]:
        return [Record(number=shot.number, group="", attempt=0, due_s=0.0, sent_s=0.0, ended_s=1.0, status=200)]

    with server(monkeypatch, lambda shot: [refusal(shot, retry_after_s=1.0)]) as plans:
        assert held(drills.burst(bench(), 8)) == [True, True]
    assert [shot.due_s for shot in plans[0].shots] == [0.0] * 80
    with server(monkeypatch, lambda shot: [refusal(shot)] if shot.number else broken(shot)):
        assert held(drills.burst(bench(), 8)) == [False, False]


def test_a_step_is_judged_by_what_came_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    served: set[int] = set()

    def five_a_second(shot: Shot) -> list[Record]:
        slot = int(5 * shot.due_s)
        if shot.due_s < 30 or slot in served:
            return [refusal(shot)]
        served.add(slot)
        return [answer(shot)]

    with server(monkeypatch, five_a_second) as plans:
        found = bench().step(10.0, 30.0)
    assert sum(shot.due_s < 30 for shot in plans[0].shots) == 150
    assert (found.after.asked, found.after.fates["good"]) == (1200, len(served))
    assert found.settled_s is not None
    assert found.settled_s <= 2.0


def test_runs_of_one_bench_share_no_prompts_and_leave_the_target_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    one = bench()
    with server(monkeypatch, lambda shot: [answer(shot)]) as plans:
        one.level("1x", 5.0, 10.0)
        one.level("2x", 5.0, 10.0)
        bench().level("1x", 5.0, 10.0)
    first, second, again = ([shot.body for shot in plan.shots] for plan in plans)
    assert not set(first) & set(second)
    assert first == again
    assert isinstance(one.target, Nobody)
    assert one.target.times_idle == 2


# ---- the platform's file ----


def test_what_is_shipped_is_not_written() -> None:
    objective = Objective(ttft_s=GOLD.ttft_s, tpot_s=GOLD.tpot_s)
    assert Configuration(objective=objective, bulk_ttft_s=GOLD.bulk_ttft_s).text(GOLD) == ""


def test_objective_bound_and_tenants_are_written() -> None:
    chosen = Configuration(
        objective=Objective(ttft_s=GOLD.ttft_s, tpot_s=0.07),
        bulk_ttft_s=GOLD.bulk_ttft_s,
        max_queued_requests=64,
        tenants={"modest": ("ABCDEFGH:00",)},
    )
    assert tomllib.loads(chosen.text(GOLD)) == {
        "tiers": {"gold": {"tpot_s": 0.07}},
        "limits": {"max_queued_requests": 64},
        "tenants": {"modest": {"tier": "gold", "weight": 1.0, "keys": ["ABCDEFGH:00"]}},
    }


# ---- the command ----


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--peers", "ollama"], "known are vllm"),
        (["--peers", "vllm", "--model", "demo"], "needs a model that it can serve"),
        (["--model", "/nowhere/at/all"], "no model is there"),
    ],
)
def test_a_wrong_command_line_is_told_in_a_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("levels", ["0,1", "one", ""])
def test_levels_are_positive_numbers(levels: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--levels", levels])
    assert "--levels" in capsys.readouterr().err


def test_a_folder_without_a_tokenizer_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert main(["--model", str(tmp_path)]) == 2
    assert "no model is there" in capsys.readouterr().err
