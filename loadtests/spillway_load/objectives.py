"""What a campaign must show, and when one request counts as good: the parts of its file that judge."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from spillway_load.shapes import Positive

Latency = Literal["ttft", "tpot", "itl", "e2e"]
Share = Literal["good", "completed", "available", "shed"]
Rate = Literal["good_per_s", "tokens_per_s"]
Of = Literal["all", "served"]
ALL: Final = "all"
"""Of tiers."""

FORMULAS: Final = {
    "ttft": "first piece of text that is not empty - due time",
    "tpot": "(last piece - first piece) / (output tokens - 1), a request's mean; tokens by the server's usage",
    "itl": "each gap between two pieces of one stream's text (a piece may hold several tokens)",
    "e2e": "end of the answer - due time, retries included",
    "good": "complete, exact and within [good]'s limits / all requests but those that the client itself left",
    "completed": "complete and exact, however late / the same",
    "available": "1 - failed / (served + failed); refused requests are in neither",
    "shed": "refused / all requests but those that the client itself left",
    "good_per_s": "good requests / seconds from the first due time to the last end",
    "tokens_per_s": "output tokens that came / the same seconds",
    "pause": "longest time between two pieces of one stream",
}
"""Of measures. "served": of the answers that came whole; "all": refused and failed requests count as answered never."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Beyond these a complete, exact answer is late or slow, not good."""

    ttft_ms: Positive = 1000.0
    tpot_ms: Positive = 100.0


def limits_of(good: Mapping[str, Limits], tier: str) -> Limits:
    """Return what good means for a tier."""
    return good.get(tier) or good.get(ALL) or Limits()


class _Objective(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    pass


class LatencyObjective(_Objective, tag="latency", frozen=True, kw_only=True):
    """A percentile below a limit."""

    measure: Latency
    tier: str = ALL
    percentile: Annotated[float, Meta(gt=0, lt=100)]
    at_most_ms: Positive
    of: Of = "all"


class ShareObjective(_Objective, tag="share", frozen=True, kw_only=True):
    """A share of requests, in percent."""

    measure: Share
    tier: str = ALL
    at_least: Annotated[float, Meta(ge=0, le=100)] | None = None
    at_most: Annotated[float, Meta(ge=0, le=100)] | None = None


class RateObjective(_Objective, tag="rate", frozen=True):
    """So much a second."""

    measure: Rate
    at_least: Positive


class PauseObjective(_Objective, tag="pause", frozen=True):
    """No stream stands still for longer."""

    at_most_ms: Positive


class InexactObjective(_Objective, tag="inexact", frozen=True):
    """So many inexact streams are put up with; without this objective none is."""

    at_most: Annotated[int, Meta(ge=0)]


Objective = LatencyObjective | ShareObjective | RateObjective | PauseObjective | InexactObjective
