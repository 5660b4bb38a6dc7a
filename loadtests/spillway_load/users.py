"""Locust's users: the requests of a campaign, in a closed loop, or as a source that does not wait for answers.

A user asks, reads the answer to its end, thinks for a second and asks again: Locust's own model, in which a slow server
is asked for less. With `--rate-per-user R` a user is a Poisson source of R requests a second instead, each from a
greenlet of its own; sources add up, so that 50 users with a rate of 2 on however many workers are a Poisson process of
100 a second. With `--follow-shape` there are as many users at every moment as the campaign's shape needs.
"""

import itertools
import os
import random
import time
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any, ClassVar

import gevent
import msgspec
from gevent.pool import Group
from locust import User, between, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.user.task import LOCUST_STATE_STOPPING

from spillway_load import campaign as campaigns
from spillway_load import plan
from spillway_load.asking import Asker
from spillway_load.campaign import Campaign
from spillway_load.errors import LoadError
from spillway_load.http_stream import Connections, Target
from spillway_load.keys import read_keys
from spillway_load.locust_series import Book
from spillway_load.locust_shape import CampaignShape
from spillway_load.objectives import limits_of
from spillway_load.record import Fate, Record, judge

_BAD = frozenset({Fate.FAILED, Fate.UNFINISHED, Fate.INEXACT, Fate.REFUSED})


class FateError(Exception):
    """A request was not served; Locust counts it as a failure under this name."""


@events.init_command_line_parser.add_listener
def _arguments(parser: LocustArgumentParser) -> None:
    group = parser.add_argument_group("Spillway")
    group.add_argument("--campaign", default="steady", help="whose work, clients and objectives hold")
    group.add_argument(
        "--rate-per-user", type=_rate, default=0.0, help="an open loop: each user a source of so many requests a second"
    )
    group.add_argument(
        "--follow-shape",
        action="store_true",
        help="as many users at every moment as the campaign's rate and shape need, in place of -u, -r and -t",
    )
    group.add_argument("--keys", default="", help='API keys by tenant, TOML: acme = "…"')
    group.add_argument("--ca", default="", help="authority to hold an https target's certificate against")
    group.add_argument("--out", default="", help="folder for result.json and report.html")
    group.add_argument("--lag-limit-ms", type=float, default=0.0, help="in place of the campaign's")
    group.add_argument("--load-seed", type=int, default=1, help="of what is asked")


def _rate(given: str) -> float:
    number = float(given)
    if number < 0:
        raise ArgumentTypeError(f"{given} is below 0")
    return number


@events.init.add_listener
def _init(environment: Environment, **_: Any) -> None:
    options: Any = environment.parsed_options
    try:
        campaign = campaigns.load(options.campaign)
        if options.follow_shape:
            environment.shape_class = CampaignShape(campaign, options.rate_per_user)
            environment.shape_class.runner = environment.runner
        SpillwayUser.keys = read_keys(Path(options.keys) if options.keys else None)
        next(plan.endless(campaign, random.Random(0), SpillwayUser.keys))  # a tenant without a key is told here
    except LoadError as error:
        raise SystemExit(f"locust: {error}") from None
    if options.lag_limit_ms:
        campaign = msgspec.structs.replace(campaign, lag_limit_ms=options.lag_limit_ms)
    SpillwayUser.campaign = campaign
    SpillwayUser.book = Book(environment, campaign, Path(options.out) if options.out else None)


class SpillwayUser(User):
    """One user, or one source of requests."""

    host = "http://127.0.0.1:8000"
    wait_time = between(0.5, 1.5)
    campaign: ClassVar[Campaign]
    book: ClassVar[Book]
    keys: ClassVar[dict[str, str]] = {}
    """API keys by tenant."""
    _numbers: ClassVar = itertools.count()
    """Of requests of this process."""

    def on_start(self) -> None:
        """Open this user's own connections and lay out its requests."""
        options: Any = self.environment.parsed_options
        number = next(self._numbers)
        self._randomness = random.Random(f"{options.load_seed} {os.getpid()} {number}")
        self._rate = options.rate_per_user
        self._connections = Connections(Target.of(str(self.host), Path(options.ca) if options.ca else None))
        self._asker = Asker(self._connections, self.campaign.clients, sleep=gevent.sleep)
        self._shots = plan.endless(self.campaign, self._randomness, self.keys)
        self._under_way = Group()

    def on_stop(self) -> None:
        """Cut off what is under way, as Locust does with a user's own request."""
        self._under_way.kill()
        self._connections.close()

    @task
    def ask(self) -> None:
        """Ask once and wait for the answer, or be a source from now on."""
        if self._rate:
            self._flow()
        else:
            self._one(time.monotonic())

    def _flow(self) -> None:
        due = time.monotonic()
        while True:
            due += self._randomness.expovariate(self._rate)
            gevent.sleep(max(0.0, due - time.monotonic()))
            if self._state == LOCUST_STATE_STOPPING:
                break
            self._under_way.spawn(self._one, due)
        self._under_way.join()  # what was asked is answered; Locust waits for it as long as --stop-timeout says

    def _one(self, due: float) -> None:
        start = self.book.start
        shot = plan.at_time(next(self._shots), next(self._numbers), due - start)
        self.book.begin()
        record = self._asker.pursue(shot, start)
        self.book.add(record)
        fate = judge(record, limits_of(self.campaign.good, record.tier))
        self._tell(record, fate)

    def _tell(self, record: Record, fate: Fate) -> None:
        self.environment.events.request.fire(
            request_type="POST",
            name=record.work,
            response_time=record.e2e_s * 1000,
            response_length=record.num_tokens,
            exception=FateError(f"{fate}: {record.outcome}") if fate in _BAD else None,
            context={},
        )
