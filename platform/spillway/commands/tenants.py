"""Make, limit and revoke tenants and their keys, and show what they use; with or without a running instance.

What is changed here is kept in the state folder, and every gateway knows it within a second. Tenants that spillway.toml
declares are shown, and changed there alone. A new key is printed once, alone on standard output; only its hash is kept.
"""

import argparse
from collections.abc import Mapping
from typing import Any, Final

from spillway.admission.contract import Kind
from spillway.cli import Surroundings
from spillway.commands import tenants_changes, tenants_reports
from spillway.configuration.admission import AMOUNT, BANDS
from spillway.errors import UsageError

_LIMITS: Final = {
    "--rpm": ("requests_per_minute", "requests per minute"),
    "--burst": ("request_burst", "requests at once; else a sixth of a minute's"),
    "--tpm": ("tokens_per_minute", "tokens per minute, of prompts and answers"),
    "--concurrent": ("max_concurrent", "requests being served at a time"),
    "--daily-tokens": ("tokens_per_day", "tokens per UTC day"),
}
_RUN: Final = {
    "add": tenants_changes.add,
    "key": tenants_changes.key,
    "limit": tenants_changes.limit,
    "revoke": tenants_changes.revoke,
    "list": tenants_reports.show,
    "usage": tenants_reports.usage,
    "audit": tenants_reports.audit,
}


def add_arguments(parser: argparse.ArgumentParser, *, explain: bool) -> None:
    """Add what can be done, each with arguments of its own."""
    # A metavar of its own: without one, argparse would list the commands in braces in every error.
    orders = parser.add_subparsers(dest="order", metavar="WHAT", required=True)
    added = _order(orders, "add", "make a tenant, and its first key")
    added.add_argument("name", metavar="NAME", help="small letters, digits and ._-")
    _add_attributes(added)
    _add_limits(added)
    _add_expiry(added)

    key = _order(orders, "key", "make another key: a key is changed by making the new one, then revoking the old one")
    key.add_argument("name", metavar="NAME", help="the tenant")
    key.add_argument(
        "--hash",
        action="store_true",
        help="keep nothing: print the hash for [tenants.NAME] keys in spillway.toml, and the key on standard error",
    )
    _add_expiry(key)

    limit = _order(orders, "limit", "change what a tenant may use; `none` lifts a limit")
    limit.add_argument("name", metavar="NAME", help="the tenant")
    _add_attributes(limit)
    _add_limits(limit)
    limit.add_argument("--kind", choices=[kind.value for kind in Kind], help="limit calls of this kind, on top")

    revoke = _order(orders, "revoke", "end a key, or a tenant with all its keys, for good")
    revoke.add_argument("what", metavar="NAME|KEY-ID", help="a tenant, or a key's id as `list` shows it")

    listed = _order(orders, "list", "show tenants and their keys")
    listed.add_argument("--json", action="store_true", help="as JSON")

    used = _order(orders, "usage", "show what was used, by UTC day, tenant and kind of call")
    used.add_argument("--since", metavar="TIME", default="7d", help="as far back: 7d, 24h. Default: 7d")
    used.add_argument("--tenant", metavar="NAME", help="of this tenant alone")
    form = used.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="as CSV, with a head")
    form.add_argument("--json", action="store_true", help="as JSON")

    changes = _order(orders, "audit", "show every change: who, when, what, before and after")
    changes.add_argument("--json", action="store_true", help="as JSON")


def run(given: Mapping[str, Any], around: Surroundings) -> int:
    """Do it."""
    order: str = given["order"]
    return _RUN[order](given, around)


def _order(orders: Any, name: str, says: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = orders.add_parser(name, help=says, description=says, allow_abbrev=False)
    for flag, explained in (
        ("--state-dir", "state folder of the instance"),
        ("--config", "configuration file of the instance"),
    ):
        parser.add_argument(flag, dest=flag, metavar="PATH", default=argparse.SUPPRESS, help=explained)
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the trace of an error")
    return parser


def _add_attributes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tier", metavar="TIER", help="what is promised to it; else admission.anonymous_tier")
    parser.add_argument("--weight", metavar="N", help="its share, relative to others; `none`: its tier's")
    parser.add_argument(
        "--model",
        metavar="NAME",
        nargs="+",
        action="extend",
        dest="models",
        help="served models it may use; `none`: all",
    )
    parser.add_argument("--band", nargs="+", action="extend", dest="bands", choices=BANDS, help="bands it may ask for")
    parser.add_argument("--default-band", choices=BANDS, help="band of its requests that ask for none")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    for flag, (name, says) in _LIMITS.items():
        parser.add_argument(flag, dest=name, metavar="N", type=_Amount(flag), default=argparse.SUPPRESS, help=says)


def _add_expiry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--expires", metavar="TIME", help="the key is valid for so long: 30d, 12h, 15m. Default: for ever"
    )


class _Amount:
    """Reads a limit; `none` lifts it."""

    def __init__(self, flag: str) -> None:
        self._flag = flag

    def __call__(self, text: str) -> int | None:
        """Return it, or raise `UsageError`."""
        if text == "none":
            return None
        try:
            return AMOUNT.from_text(text)
        except ValueError as error:
            raise UsageError(f"{self._flag} is {text!r}; it must be {error}, or none") from None
