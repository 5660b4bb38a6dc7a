"""Toxics on the links of the stage: the way to Redis (`redis`), and that to the collector of traces (`collector`)."""

from typing import Any, Literal

from spillway_chaos.errors import FaultError
from spillway_chaos.stage.proxy import Link
from spillway_chaos.stage.stage import current
from spillway_chaos.stage.toxics import Stream, toxic_of

Name = Literal["redis", "collector"]


def add_toxic(
    link: Name,
    toxic: str,
    attributes: dict[str, Any] | None = None,
    stream: Stream = "downstream",
    toxicity: float = 1.0,
) -> None:
    """Poison a link; the names and attributes are Toxiproxy's."""
    poison = toxic_of(toxic, attributes or {})
    found = _link(link)
    current().strike(toxic, link, link)
    found.add(poison, stream=stream, toxicity=toxicity)


def take_down(link: Name) -> None:
    """Close a link's port and its connections."""
    found = _link(link)
    current().strike("down", link, link)
    found.down()


def remove_toxics(link: Name) -> None:
    """Cure a link, and open it again."""
    _link(link).cure()
    _link(link).up()


def _link(name: Name) -> Link:
    found = current().links.get(name)
    if found is None:
        setting = "redis: proxied" if name == "redis" else "collector: true"
        raise FaultError(f"the stage has no link to {name}; the drill's platform needs `{setting}`")
    return found
