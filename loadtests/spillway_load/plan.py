"""From a campaign to the list of its requests: who asks what, and when. Pure, and the same for a seed.

Parts of a plan are dealt to workers one request each in turn, so that every worker has the same traffic, thinner.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from spillway_load.arrivals import arrivals
from spillway_load.campaign import Campaign, Clients, Sender
from spillway_load.errors import CampaignError
from spillway_load.objectives import Limits
from spillway_load.prompts import Ask, Expected, deal
from spillway_load.shapes import crowds, curve
from spillway_load.traces import Replay, Trace, read, scaled

PATH: Final = "/v1/chat/completions"
_STREAMED: Final = {"stream": True, "stream_options": {"include_usage": True}}


class Shot(msgspec.Struct, frozen=True, array_like=True):
    """One intended request."""

    number: int
    due_s: float
    """From the campaign's start on."""
    body: bytes
    expected: Expected
    label: str
    work: str
    tier: str
    tenant: str
    key: str | None = None
    leaves_after: int | None = None
    """Pieces of text after which the client hangs up."""
    is_slow: bool = False


class Plan(msgspec.Struct, frozen=True):
    """What one worker does."""

    url: str
    shots: list[Shot]
    clients: Clients
    good: dict[str, Limits]
    ca: str = ""
    """File of the authority that the server's certificate is held against; empty: the system's."""


def shots(campaign: Campaign, keys: Mapping[str, str] | None = None) -> list[Shot]:
    """Return the requests of a campaign, in order of their times. Raises `CampaignError` if there are none."""
    randomness = random.Random(f"{campaign.seed} {campaign.name}")
    if isinstance(campaign.arrivals, Replay):
        due, asks = _replayed(campaign, campaign.arrivals, randomness)
    else:
        line = curve(campaign.shape, campaign.arrivals.rate, campaign.duration_s)
        due = sorted([*arrivals(campaign.arrivals, line, randomness), *crowds(campaign.shape, campaign.duration_s)])
        asks = _mixed(campaign, randomness)
    if not due:
        raise CampaignError(f"{campaign.name}: no request falls into its {campaign.duration_s:g} s; raise the rate")
    drawn = _drawn(campaign, asks, _senders(campaign, keys or {}), randomness)
    return [at_time(next(drawn), number, at) for number, at in enumerate(due)]


def endless(campaign: Campaign, randomness: random.Random, keys: Mapping[str, str] | None = None) -> Iterator[Shot]:
    """Yield requests of a campaign's mix for ever, without times. Raises `CampaignError`."""
    return _drawn(campaign, _mixed(campaign, randomness), _senders(campaign, keys or {}), randomness)


def at_time(shot: Shot, number: int, due_s: float) -> Shot:
    """Return a request with its number and its time."""
    return msgspec.structs.replace(shot, number=number, due_s=due_s)


def dealt(everything: list[Shot], workers: int) -> list[list[Shot]]:
    """Deal a campaign's requests to workers."""
    return [everything[first::workers] for first in range(workers)]


_Asked = Iterator[tuple[str, Ask]]


def _mixed(campaign: Campaign, randomness: random.Random) -> _Asked:
    sources = [(work.name or _kind(work), work.asks(randomness)) for work in campaign.work]
    weights = [work.weight for work in campaign.work]
    while True:
        name, asks = randomness.choices(sources, weights)[0]
        yield name, next(asks)


def _replayed(campaign: Campaign, replay: Replay, randomness: random.Random) -> tuple[list[float], _Asked]:
    trace: Trace = read(Path(campaign.folder) / replay.file, replay.format)
    entries = scaled(trace, replay, campaign.duration_s)
    works = deal(campaign.work, randomness)

    def asks() -> _Asked:
        for entry in entries:
            work = next(works)
            yield work.name or _kind(work), work.of_lengths(entry.prompt_tokens, entry.output_tokens, randomness)

    return [entry.at_s for entry in entries], asks()


def _kind(work: Any) -> str:
    return str(work.__struct_config__.tag)


def _senders(campaign: Campaign, keys: Mapping[str, str]) -> list[Sender]:
    crowd = campaign.crowd
    senders = list(campaign.senders)
    if crowd is not None:
        names = list(keys) or [f"tenant-{number:02}" for number in range(1, crowd.count + 1)]
        senders = [
            Sender(tenant=name, tier=crowd.tier, weight=rank**-crowd.skew)
            for rank, name in enumerate(names[: crowd.count], start=1)
        ]
    elif keys and not any(sender.tenant or sender.key for sender in senders):
        senders = [Sender(tenant=name) for name in keys]  # whoever has a key asks equally much
    if missing := [sender.tenant for sender in senders if keys and not sender.key and sender.tenant not in keys]:
        raise CampaignError(f"--keys has no key of the tenant {missing[0]!r}")
    return [msgspec.structs.replace(sender, key=sender.key or keys.get(sender.tenant)) for sender in senders]


def _drawn(campaign: Campaign, asks: _Asked, senders: Sequence[Sender], randomness: random.Random) -> Iterator[Shot]:
    clients, weights = campaign.clients, [sender.weight for sender in senders]
    for work, ask in asks:
        sender = randomness.choices(senders, weights)[0]
        fields = {**ask.fields, **_STREAMED}
        if sender.tenant:
            fields["user"] = sender.tenant
        if sender.service_tier is not None:
            fields["service_tier"] = sender.service_tier
        leaves = randomness.random() < clients.leave
        yield Shot(
            number=0,
            due_s=0.0,
            body=msgspec.json.encode(fields),
            expected=ask.expected,
            label=ask.label,
            work=work,
            tier=sender.tier,
            tenant=sender.tenant,
            key=sender.key,
            leaves_after=randomness.randint(1, max(1, ask.expected.num_tokens // 2)) if leaves else None,
            is_slow=randomness.random() < clients.slow,
        )
