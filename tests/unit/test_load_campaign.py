"""Campaign files: all that is shipped can be run, and what is wrong with one is told with its place."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from spillway_load import campaign as campaigns
from spillway_load import plan
from spillway_load.campaign import parse
from spillway_load.errors import CampaignError

LEAST: dict[str, Any] = {"about": "x", "duration_s": 5, "arrivals": {"process": "poisson", "rate": 4}}


def given(**changes: Any) -> dict[str, Any]:
    return {**LEAST, **changes}


@pytest.mark.parametrize("name", sorted(campaigns.shipped()))
def test_every_shipped_campaign_can_be_planned(name: str) -> None:
    campaign = msgspec.structs.replace(campaigns.load(name), duration_s=5.0)
    shots = plan.shots(campaign)
    assert shots == plan.shots(campaign)
    assert [shot.number for shot in shots] == list(range(len(shots)))
    assert [shot.due_s for shot in shots] == sorted(shot.due_s for shot in shots)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"arrivals": {"process": "poisson", "rate": 0}}, r"arrivals\.rate: .*> 0"),
        ({"arrivals": {"process": "poison", "rate": 1}}, r"arrivals\.process: Invalid value 'poison'"),
        ({"arrivals": {"process": "poisson"}}, r"arrivals: .*missing required field `rate`"),
        ({"duration": 3}, "there is no key 'duration'; did you mean 'duration_s'"),
        ({"clients": {"retry": 3}}, "clients: there is no key 'retry'; did you mean 'retries'"),
        ({"clients": {"leave": 2}}, r"clients\.leave: .*<= 1"),
        ({"objectives": [{"kind": "share", "measure": "good"}]}, "objective 1 needs one of at_least and at_most"),
        (
            {"objectives": [{"kind": "share", "measure": "good", "at_least": 1, "tier": "gold"}]},
            "objective 1 is about the tier 'gold', of which nobody sends",
        ),
        ({"saturation": {"lowest": 9, "highest": 3}}, "saturation.lowest is above"),
    ],
    ids=["bound", "process", "missing", "key", "nested", "share", "limit", "tier", "search"],
)
def test_what_is_wrong_is_told_with_its_place(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(CampaignError, match=told):
        parse(given(**changes), Path("some.toml"))


def test_an_unknown_name_is_told_with_one_that_is_like_it() -> None:
    with pytest.raises(CampaignError, match="did you mean 'steady'"):
        campaigns.load("stedy")


def test_a_file_that_is_no_toml_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("about = \n", encoding="utf-8")
    with pytest.raises(CampaignError, match="line 1"):
        campaigns.load(str(tmp_path / "a.toml"))


def test_a_campaign_without_a_request_is_refused() -> None:
    campaign = parse(given(duration_s=0.001, arrivals={"process": "even", "rate": 0.001}), Path("some.toml"))
    with pytest.raises(CampaignError, match="no request falls"):
        plan.shots(msgspec.structs.replace(campaign, seed=2))


def test_requests_are_dealt_to_workers_without_loss() -> None:
    shots = plan.shots(parse(given(), Path("some.toml")))
    parts = plan.dealt(shots, 3)
    assert sorted(shot.number for part in parts for shot in part) == [shot.number for shot in shots]


def test_tenants_ask_in_proportion_to_their_rank() -> None:
    campaign = parse(given(duration_s=200, crowd={"count": 3, "skew": 1.0}), Path("some.toml"))
    senders = [shot.tenant for shot in plan.shots(campaign)]
    assert senders.count("tenant-01") > 1.5 * senders.count("tenant-02") > 1.5 * senders.count("tenant-03") > 0


def test_keys_are_sent_and_a_missing_one_is_told() -> None:
    campaign = parse(given(senders=[{"tenant": "acme"}]), Path("some.toml"))
    assert {shot.key for shot in plan.shots(campaign, {"acme": "secret"})} == {"secret"}
    with pytest.raises(CampaignError, match="no key of the tenant 'acme'"):
        plan.shots(campaign, {"other": "secret"})


def test_a_replay_takes_times_and_lengths_of_its_trace(tmp_path: Path) -> None:
    rows = "".join(f'{{"timestamp": {1000 * n}, "input_length": 100, "output_length": 20}}\n' for n in range(4))
    (tmp_path / "t.jsonl").write_text(rows, encoding="utf-8")
    arrivals = {"process": "replay", "format": "mooncake", "file": "t.jsonl", "speed": 2.0}
    shots = plan.shots(parse(given(duration_s=1.2, arrivals=arrivals), tmp_path / "some.toml"))
    assert [(shot.due_s, shot.expected.num_tokens) for shot in shots] == [(0.0, 21), (0.5, 21), (1.0, 21)]
