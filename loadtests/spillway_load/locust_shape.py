"""A campaign's shape for Locust: so many users at every moment that together they ask at the shape's rate."""

import math

from locust import LoadTestShape

from spillway_load.campaign import Campaign
from spillway_load.errors import CampaignError
from spillway_load.shapes import Herd, curve
from spillway_load.traces import Replay

USER_RATE = 1.0
"""Requests a second of a user in a closed loop, who thinks for a second on average; slow answers make it less."""


class CampaignShape(LoadTestShape):
    """Ramp, steps, spike, wave or steady, over the campaign's duration; Locust asks it every second."""

    abstract = True
    """Locust must not take it for a locustfile's own: `--follow-shape` makes one."""

    def __init__(self, campaign: Campaign, rate_per_user: float) -> None:
        """`rate_per_user` is that of users as sources, 0 for users in a closed loop. Raises `CampaignError`."""
        super().__init__()  # type: ignore[no-untyped-call]  # Locust's own
        if isinstance(campaign.arrivals, Replay) or isinstance(campaign.shape, Herd):
            what = "a trace" if isinstance(campaign.arrivals, Replay) else "a crowd at one instant"
            raise CampaignError(
                f"{campaign.name}: {what} is no number of users; run it with `spillway load {campaign.name}`, or leave "
                f"out --follow-shape"
            )
        self._curve = curve(campaign.shape, campaign.arrivals.rate, campaign.duration_s)
        self._rate_per_user = rate_per_user or USER_RATE

    def users_at(self, seconds: float) -> int:
        """Return how many users there should be then."""
        return math.ceil(self._curve.at(seconds) / self._rate_per_user - 1e-9)

    def tick(self) -> tuple[int, float] | None:
        """Return how many users there should be now, and how fast they come; None when the campaign is over."""
        seconds: float = self.get_run_time()  # type: ignore[no-untyped-call]  # likewise
        if seconds >= self._curve.duration:
            return None
        users = self.users_at(seconds)
        return users, max(1.0, float(users))
