"""`spillway tenants`: what scripts and people get, what is kept, and what is refused in one line."""

import asyncio
import csv
import json
import os
import pwd
import stat
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from spillway.admission.contract import Kind
from spillway.admission.identity import keys
from spillway.admission.identity.usage import UsageBook
from spillway.cli import Surroundings, main


class Shell:
    """Runs `spillway tenants …` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "spillway" / "tenants.db"
        self.said = ""

    def run(self, *words: str) -> tuple[int, str]:
        out, err = StringIO(), StringIO()
        around = Surroundings(environment={"XDG_STATE_HOME": str(self.folder)}, folder=self.folder, out=out, err=err)
        status = main(["tenants", *words], around)
        self.said = err.getvalue()
        return status, out.getvalue()

    def __call__(self, *words: str) -> str:
        status, out = self.run(*words)
        assert status == 0, self.said
        return out

    def refused(self, *words: str) -> str:
        status, out = self.run(*words)
        assert (status, out) == (2, "")
        assert self.said.count("\n") == 1
        return self.said.removeprefix("spillway: ").removesuffix("\n")

    def list(self) -> dict[str, Any]:
        return {tenant["id"]: tenant for tenant in json.loads(self("list", "--json"))["tenants"]}

    def declare(self, text: str) -> None:
        (self.folder / "spillway.toml").write_text(text)


@pytest.fixture
def spillway(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_a_tenant_is_made_with_all_that_was_said_and_its_key_is_printed_alone(spillway: Shell) -> None:
    said = ("--tier", "silver", "--weight", "3", "--rpm", "60", "--burst", "6", "--tpm", "1000", "--concurrent", "4")
    more = ("--daily-tokens", "100000", "--model", "chat", "code", "--band", "bulk", "interactive")

    key = spillway("add", "acme", *said, *more, "--default-band", "bulk")

    assert keys.public_id(key.removesuffix("\n")) is not None
    tenant = spillway.list()["acme"]
    (shown,) = tenant.pop("keys")
    assert tenant == {
        "id": "acme",
        "tier": "silver",
        "weight": 3.0,
        "declared": False,
        "enabled": True,
        "limits": {
            "requests_per_minute": 60,
            "request_burst": 6,
            "tokens_per_minute": 1000,
            "max_concurrent": 4,
            "tokens_per_day": 100_000,
        },
        "limits_by_kind": {},
        "models": ["chat", "code"],
        "bands": ["interactive", "bulk"],
        "default_band": "bulk",
    }
    assert (shown["last4"], shown["valid"], shown["expires_at"]) == (key.strip()[-4:], True, None)
    assert stat.S_IMODE(spillway.file.stat().st_mode) == 0o600
    assert key.strip().encode() not in spillway.file.read_bytes(), "only its hash is kept"


def test_without_a_word_a_tenant_has_the_tier_of_the_anonymous_and_no_limits(spillway: Shell) -> None:
    spillway.declare("[admission]\nanonymous_tier = 'bronze'")
    spillway("add", "acme")

    tenant = spillway.list()["acme"]

    assert (tenant["tier"], tenant["weight"], tenant["default_band"]) == ("bronze", 1.0, "default")
    assert set(tenant["limits"].values()) == {None}


def test_a_key_is_rotated_without_a_gap(spillway: Shell) -> None:
    first = keys.public_id(spillway("add", "acme").strip())
    second = keys.public_id(spillway("key", "acme", "--expires", "30d").strip())
    assert first is not None
    assert second is not None
    assert f"its key {second}, valid until " in spillway.said

    assert spillway("revoke", first) == f"revoked the key {first} of acme\n"

    shown = {key["id"]: key for key in spillway.list()["acme"]["keys"]}
    assert (shown[first]["valid"], shown[second]["valid"]) == (False, True)
    assert shown[second]["expires_at"] > shown[second]["created_at"]


def test_a_key_can_be_revoked_by_what_logs_say_and_by_itself(spillway: Shell) -> None:
    first = spillway("add", "acme").strip()
    second = spillway("key", "acme").strip()

    spillway("revoke", f"key:{keys.public_id(first)}")
    spillway("revoke", second)

    assert [key["valid"] for key in spillway.list()["acme"]["keys"]] == [False, False]


def test_a_hash_for_the_file_is_printed_alone_and_nothing_is_kept(spillway: Shell) -> None:
    line = spillway("key", "acme", "--hash").strip()

    (key,) = [word for word in spillway.said.split() if word.startswith("sk-spill-")]
    assert line == keys.declaration(key)
    assert not spillway.file.exists()
    spillway.declare(f"[tenants.acme]\nkeys = ['{line}']")
    assert [shown["id"] for shown in spillway.list()["acme"]["keys"]] == [keys.public_id(key)]


def test_limits_are_changed_and_lifted(spillway: Shell) -> None:
    spillway("add", "acme", "--rpm", "60", "--tpm", "1000")

    spillway("limit", "acme", "--rpm", "none", "--concurrent", "3", "--tier", "bronze", "--model", "chat")
    spillway("limit", "acme", "--kind", "chat", "--rpm", "5", "--burst", "1")

    tenant = spillway.list()["acme"]
    given = {name: value for name, value in tenant["limits"].items() if value is not None}
    assert given == {"tokens_per_minute": 1000, "max_concurrent": 3}
    assert (tenant["tier"], tenant["weight"], tenant["models"]) == ("bronze", 1.0, ["chat"])
    assert tenant["limits_by_kind"]["chat"]["requests_per_minute"] == 5
    spillway("limit", "acme", "--kind", "chat", "--rpm", "none")
    spillway("limit", "acme", "--model", "none", "--weight", "0.5")
    tenant = spillway.list()["acme"]
    assert (tenant["limits_by_kind"], tenant["models"], tenant["weight"]) == ({}, [], 0.5)


def test_a_tenant_is_revoked_with_its_keys_and_can_begin_anew(spillway: Shell) -> None:
    spillway("add", "acme")
    spillway("key", "acme")

    assert spillway("revoke", "acme") == "revoked the tenant acme and 2 of its keys\n"
    assert not spillway.list()["acme"]["enabled"]
    assert "begins anew" in spillway.refused("key", "acme")

    spillway("add", "acme", "--rpm", "5")
    tenant = spillway.list()["acme"]
    assert tenant["enabled"]
    assert sorted(key["valid"] for key in tenant["keys"]) == [False, False, True]


def test_a_declared_tenant_is_shown_and_changed_in_its_file_alone(spillway: Shell) -> None:
    line = spillway("key", "acme", "--hash").strip()
    spillway.declare(f"[tenants.acme]\ntier = 'gold'\nkeys = ['{line}']")

    assert spillway.list()["acme"]["declared"]
    for words in (("add", "acme"), ("key", "acme"), ("limit", "acme", "--rpm", "1"), ("revoke", "acme")):
        assert "declared in the configuration file: change [tenants.acme] there, then send SIGHUP" in spillway.refused(
            *words
        )
    assert "declared in the configuration file" in spillway.refused("revoke", line[:8])


def test_an_address_that_needs_tenants_does_not_keep_the_first_one_from_being_made(spillway: Shell) -> None:
    spillway.declare("[network]\nhost = '0.0.0.0'")

    spillway("add", "acme")

    assert set(spillway.list()) == {"acme"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "the following arguments are required: WHAT; see spillway tenants --help"),
        (("ad",), "argument WHAT: invalid choice: 'ad'"),
        (("add",), "the following arguments are required: NAME; see spillway tenants add --help"),
        (("add", "Acme"), "the name is 'Acme'; it must be a tenant's name: at most 64 small letters, digits"),
        (("add", "anonymous"), "the name is 'anonymous'; it must be another name"),
        (("add", "a", "--tier", "golt"), "--tier is 'golt', which is not there (did you mean gold?)"),
        (("add", "a", "--tier", "x"), "--tier is 'x', which is not there; there are: gold, silver, bronze"),
        (("add", "a", "--rpm", "0"), "--rpm is '0'; it must be a whole number, from 1 to 1000000000000, or none"),
        (("add", "a", "--tpm", "many"), "--tpm is 'many'; it must be a whole number"),
        (("add", "a", "--burst", "5"), "a burst is of requests per minute: give --rpm, too"),
        (("add", "a", "--weight", "0"), "--weight is '0'; it must be a number, from 0.01 to 1000, or none"),
        (("add", "a", "--band", "fast"), "argument --band: invalid choice: 'fast'"),
        (("add", "a", "--band", "bulk", "--default-band", "default"), "the default band is 'default'; it must be one"),
        (("add", "a", "--expires", "soon"), "--expires is 'soon'; it must be a number and a unit: 30d, 12h, 15m, 2w"),
        (("add", "a", "--rmp", "5"), "--rmp is no argument of spillway tenants"),
        (("key", "a", "--hash", "--expires", "1d"), "--expires is no part of a hash in the file"),
        (("key", "nobody"), "there is no tenant 'nobody'; `spillway tenants list` shows them"),
        (("limit", "nobody", "--rpm", "5"), "there is no tenant 'nobody'"),
        (("limit", "nobody"), "say what to change, such as --rpm 600"),
        (("limit", "nobody", "--kind", "chat", "--tier", "gold"), "--kind chat limits calls of one kind: give a limit"),
        (("revoke", "nobody"), "there is no tenant 'nobody'"),
        (("revoke", "ABCDEFGH"), "there is no key 'ABCDEFGH'; `spillway tenants list` shows them"),
        (("usage", "--since", "x"), "--since is 'x'; it must be a number and a unit"),
        (("usage", "--csv", "--json"), "argument --json: not allowed with argument --csv"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(spillway: Shell, words: tuple[str, ...], told: str) -> None:
    assert spillway.refused(*words).startswith(told)


def test_a_store_that_cannot_be_used_is_one_line_and_status_1(spillway: Shell) -> None:
    spillway.file.mkdir(parents=True)

    status, _ = spillway.run("list")

    assert status == 1
    assert spillway.said.startswith("spillway: the tenants' database ")


def test_a_tenant_that_is_there_is_not_made_again(spillway: Shell) -> None:
    spillway("add", "acme")

    assert spillway.refused("add", "acme").startswith("there is a tenant 'acme' already; `spillway tenants limit acme`")


# ---- what is shown ----


def test_people_see_tenants_keys_and_what_to_do_without_any(spillway: Shell) -> None:
    assert spillway("list").endswith("`spillway tenants add NAME`\n")
    key = spillway("add", "acme", "--rpm", "600", "--concurrent", "2").strip()
    spillway("limit", "acme", "--kind", "batch", "--daily-tokens", "5000")

    shown = spillway("list")

    assert "600 requests/min, 2 at a time; batch: 5,000 tokens/day" in shown
    assert "interactive, default*, bulk" in shown
    assert f"…{key[-4:]}" in shown
    assert key not in shown


def test_the_audit_tells_who_changed_what_from_what_to_what(spillway: Shell) -> None:
    spillway("add", "acme", "--rpm", "600")
    spillway("limit", "acme", "--rpm", "60")

    lines = json.loads(spillway("audit", "--json"))["audit"]

    assert [(line["action"], line["subject"]) for line in lines][::2] == [("add tenant", "acme"), ("limit", "acme")]
    assert {line["who"] for line in lines} == {pwd.getpwuid(os.getuid()).pw_name}
    assert lines[2]["before"]["limits"]["requests_per_minute"] == 600
    assert "digest" not in lines[1]["after"]
    assert "limits.requests_per_minute 600 → 60" in spillway("audit")


async def _use(file: Path, now: float) -> None:
    book = UsageBook(file, clock=lambda: now, log=print)
    book.add("acme", Kind.CHAT, 1200, 34, now)
    book.add("acme", Kind.CHAT, 1, 1, now - 40 * 86_400)
    book.add("globex", Kind.BATCH, 5, 6, now)
    await book.close()


def test_usage_is_shown_by_day_tenant_and_kind(spillway: Shell) -> None:
    spillway("list")
    asyncio.run(_use(spillway.file, time.time()))

    table = list(csv.DictReader(StringIO(spillway("usage", "--csv", "--tenant", "acme", "--since", "60d"))))
    assert [(row["tenant"], row["kind"], row["requests"], row["output_tokens"]) for row in table] == [
        ("acme", "chat", "1", "1"),
        ("acme", "chat", "1", "34"),
    ]
    rows = json.loads(spillway("usage", "--json"))["usage"]
    assert [(row["tenant"], row["prompt_tokens"]) for row in rows] == [("acme", 1200), ("globex", 5)]
    assert "1,200" in spillway("usage")
