"""Cards in their folder: the last one is what the next is compared with."""

import datetime as dt
from pathlib import Path

import msgspec

from spillway_chaos.scorecard.card import VERSION, Card
from spillway_chaos.scorecard.page import page


def write(card: Card, folder: Path) -> tuple[Path, Path]:
    """Keep a card; return its JSON and its HTML."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = dt.datetime.fromtimestamp(card.at, dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    as_json, as_html = folder / f"{stem}.json", folder / f"{stem}.html"
    as_html.write_text(page(card), encoding="utf-8")
    draft = as_json.with_suffix(".new")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1))
    draft.replace(as_json)
    return as_json, as_html


def history(folder: Path) -> list[Card]:
    """Return all cards that can be read, the oldest first."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Card))
        except (OSError, msgspec.MsgspecError):
            continue
    return sorted((card for card in found if card.version == VERSION), key=lambda card: card.at)
