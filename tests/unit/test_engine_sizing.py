"""How large an engine is made, and what it is called."""

from pathlib import Path

import pytest

from spillway_engine.errors import MemoryBudgetError, SettingsError
from spillway_engine.settings import EngineSettings, SchedulerSettings, served_name
from spillway_engine.sizing import size_engine

FREE = 1_000_000


def sized(**settings: int) -> SchedulerSettings:
    return size_engine(
        EngineSettings(model="demo", **settings),  # type: ignore[arg-type]  # all are numbers
        max_positions=256,
        blocks_within=lambda budget: budget // 1000,
        free_bytes=FREE,
    )


def test_the_cache_takes_a_share_of_what_is_free_or_what_it_is_given() -> None:
    assert sized().num_blocks == 250
    assert sized(max_num_seqs=1).num_blocks == 16
    assert sized(kv_cache_bytes=FREE).num_blocks == 1000


def test_a_budget_beyond_what_is_free_is_refused_with_both_numbers() -> None:
    with pytest.raises(MemoryBudgetError, match=r"kv_cache_bytes is 1000001; 1000000 bytes are free"):
        sized(kv_cache_bytes=FREE + 1)


def test_a_budget_below_one_block_is_refused() -> None:
    with pytest.raises(MemoryBudgetError, match="999 bytes do not hold one cache block"):
        sized(kv_cache_bytes=999)


def test_a_context_without_room_for_an_answer_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="max_model_len is 1; it must be at least 2"):
        EngineSettings(model="demo", max_model_len=1)
    with pytest.raises(SettingsError, match="max_model_len is 1; it must be at least 2"):
        SchedulerSettings(max_model_len=1)
    assert SchedulerSettings(max_model_len=2).max_blocks_per_seq == 1


def test_a_model_is_called_what_is_set_else_what_it_was_given_as(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = Path("/cache/models--owner--model/snapshots/0123abcd")
    assert served_name(EngineSettings(model="owner/model"), snapshot) == "owner/model"
    assert served_name(EngineSettings(model="owner/model", served_name="mine"), snapshot) == "mine"
    assert served_name(EngineSettings(model="demo"), Path("/somewhere/demo/model")) == "demo"
    (tmp_path / "llama").mkdir()
    monkeypatch.chdir(tmp_path / "llama")
    assert served_name(EngineSettings(model="."), Path()) == "llama"
    assert served_name(EngineSettings(model="../llama/"), Path("../llama")) == "llama"
    (tmp_path / "chat").symlink_to(tmp_path / "llama")
    assert served_name(EngineSettings(model=str(tmp_path / "chat")), tmp_path / "chat") == "chat"
