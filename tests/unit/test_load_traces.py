"""Traces of real services: three formats, times and lengths scaled, and what is wrong told with its line."""

from pathlib import Path

import pytest

from spillway_load.errors import CampaignError
from spillway_load.traces import Entry, Format, Replay, read, scaled

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:05,110,27
"""
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,API log
47,GPT-4,417,276,693,Conversation log
"""
MOONCAKE = """{"timestamp": 500, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}
{"timestamp": 0, "input_length": 7322, "output_length": 490, "hash_ids": [0, 14]}

"""


def trace(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "trace"
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("how", "content", "entries", "left_out"),
    [
        ("azure", AZURE, [(0.0, 4808, 10), (0.052, 3180, 8), (1.02004, 110, 27)], 0),
        ("burstgpt", BURSTGPT, [(0.0, 472, 18), (42.0, 417, 276)], 1),
        ("mooncake", MOONCAKE, [(0.0, 7322, 490), (0.5, 6758, 500)], 0),
    ],
    ids=["azure", "burstgpt", "mooncake"],
)
def test_formats(
    how: Format, content: str, entries: list[tuple[float, int, int]], left_out: int, tmp_path: Path
) -> None:
    found = read(trace(tmp_path, content), how)
    assert [(round(entry.at_s, 6), entry.prompt_tokens, entry.output_tokens) for entry in found.entries] == entries
    assert found.left_out == left_out


@pytest.mark.parametrize(
    ("how", "content", "told"),
    [
        ("azure", AZURE + "yesterday,1,2\n", "line 5"),
        ("azure", AZURE + "2023-11-16 18:17:06,1\n", "line 5.*too few columns"),
        ("azure", "TIMESTAMP,GeneratedTokens\n", "no column 'ContextTokens'"),
        ("burstgpt", BURSTGPT + "50,GPT-4,many,1,1,API log\n", "line 5"),
        ("mooncake", MOONCAKE + '{"timestamp": 1}\n', "line 4.*input_length"),
        ("mooncake", "", "no request that had an answer"),
    ],
    ids=["time", "columns", "header", "number", "json", "empty"],
)
def test_what_is_wrong_is_told_with_its_line(how: Format, content: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(CampaignError, match=told):
        read(trace(tmp_path, content), how)


def test_a_missing_trace_is_named(tmp_path: Path) -> None:
    with pytest.raises(CampaignError, match="nowhere"):
        read(tmp_path / "nowhere.csv", "azure")


def test_times_and_lengths_are_scaled(tmp_path: Path) -> None:
    found = read(trace(tmp_path, BURSTGPT), "burstgpt")
    replay = Replay(format="burstgpt", file="", speed=2.0, start_s=2.0, prompt_scale=0.1, output_scale=0.001)
    assert scaled(found, replay, 30.0) == [Entry(20.0, 42, 1)]
    assert scaled(found, replay, 10.0) == []
    assert len(scaled(found, Replay(format="burstgpt", file="", every=2), 100.0)) == 1
