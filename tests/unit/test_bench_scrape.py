"""The bench of metrics: it measures what it says, on pages of the size it says."""

import asyncio
import json
from pathlib import Path

import pytest

from spillway.bench.scrape import costs, main, per_call_us, scrapes


def test_a_small_instance_is_scraped_in_both_formats() -> None:
    small, larger = (asyncio.run(scrapes(engines, tenants, 2)) for engines, tenants in ((1, 2), (3, 20)))
    for form in ("text", "openmetrics"):
        assert small[f"{form}, median, ms"] > 0
        assert larger[f"{form}, lines"] > small[f"{form}, lines"] > 500


def test_costs_are_of_one_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[int] = []
    assert per_call_us(lambda: calls.append(1), number=10, rounds=3) > 0
    assert len(calls) == 30
    monkeypatch.setattr("spillway.bench.scrape.per_call_us", lambda call: call() or 1.0)
    assert set(costs().values()) == {1.0}
    assert main(["--engines", "1", "--tenants", "2", "--scrapes", "2", "--json", str(tmp_path / "out.json")]) == 0
    assert set(json.loads((tmp_path / "out.json").read_text())) == {"microseconds", "scrape of 1 engines and 2 tenants"}
