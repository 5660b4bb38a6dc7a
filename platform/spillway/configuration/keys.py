"""Every setting by name, found in the dataclasses of `settings`: one name for one thing.

::

    settings                     spillway.toml              flag                     variable
    Settings.gateways            gateways = 2               --gateways 2             SPILLWAY_GATEWAYS=2
    Settings.network.port        [network] port = 8000      --port 8000              SPILLWAY_PORT=8000
    Settings.drain.timeout_s     [drain] timeout_s = 60     --drain-timeout-s 60     SPILLWAY_DRAIN_TIMEOUT_S=60

The groups `network` and `limits` hold names that speak for themselves; those of the other groups are too short to
stand alone and bear the group's name in front.
"""

import ast
import inspect
import ipaddress
import itertools
import re
import textwrap
import typing
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from spillway.configuration.admission import name_problem
from spillway.configuration.values import Kind, Limits, Perhaps, Switch, kind_of
from spillway.settings import ModelSettings, Settings

_STANDING_ALONE: Final = ("network", "limits")
BY_HAND: Final = ("models", "engine", "routes", "tiers", "tenants", "brownout")
"""Tables with names of the user's own, and rules: `models`, `routes` and `admission` read them."""
_ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
"""Those with a public key. With `none` there is none, and with HS256 whoever can verify can sign."""
_ANY_DAY_S: Final = 7 * 86_400.0
"""The longest of all times: a typing error is likelier than a wish for more than a week."""


def _device(text: str) -> str | None:
    return None if text in {"auto", "cpu", "cuda"} else "auto, cpu or cuda"


def _redis_url(text: str) -> str | None:
    allowed = "a URL that starts with redis://, rediss:// or unix://"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return allowed
    rest = parts.path if parts.scheme == "unix" else parts.hostname
    return None if parts.scheme in {"redis", "rediss", "unix"} and rest else allowed


def _network(text: str) -> str | None:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return "an address or a network, such as 10.0.0.0/8"
    return None


def _baggage_key(text: str) -> str | None:
    return None if re.fullmatch(r"[A-Za-z0-9._-]+", text) else "a key of baggage, such as user.segment"


def _whose_content(text: str) -> str | None:
    return None if text == "*" or name_problem(text) is None else "tenants' names, or * for everybody"


def _currency(text: str) -> str | None:
    return None if re.fullmatch(r"[A-Z]{3}", text) else "three capital letters, such as EUR"


def _host(text: str) -> str | None:
    plain = re.fullmatch(r"[A-Za-z0-9._:%-]+", text)
    return None if plain else "a host name or an address, such as 127.0.0.1, 0.0.0.0 or ::"


def _http_url(text: str) -> str | None:
    parts = urlsplit(text)
    is_one = parts.scheme in {"http", "https"} and parts.netloc
    return None if is_one else "a URL that starts with http:// or https://"


def _jwks(text: str) -> str | None:
    # A URL without TLS would let anybody on the way say whom to believe.
    is_one = text.startswith("https://") or (text and "://" not in text)
    return None if is_one else "a file, or a URL that starts with https://"


def _algorithm(text: str) -> str | None:
    return None if text in _ALGORITHMS else f"one of: {', '.join(_ALGORITHMS)}"


_LIMITS: Final[dict[str, Limits]] = {
    "engines": (1, 1024),
    "standby": (0, 1024),
    "gateways": (1, 256),
    "device": _device,
    "redis": _redis_url,
    "network.host": _host,
    "network.port": (0, 65_535),
    "network.ops_host": _host,
    "network.ops_port": (0, 65_535),
    "network.trusted_proxies": _network,
    "network.backlog": (1, 65_535),
    "generation.temperature": (0, 2),
    "generation.top_p": (0, 1),
    "generation.top_k": (-1, 1_000_000),
    "generation.repetition_penalty": (0.01, 10),
    "generation.max_tokens_chat": (1, 10_000_000),
    "generation.max_tokens_generate": (1, 10_000_000),
    "generation.seed": (0, 2**63 - 1),
    "limits.max_body_bytes": (1024, 2**30),
    "limits.max_json_depth": (4, 512),
    "limits.max_queued_requests": (1, 1_000_000),
    "limits.request_timeout_s": (0.001, _ANY_DAY_S),
    "limits.engine_wait_s": (0, _ANY_DAY_S),
    "limits.slow_reader_s": (0.1, _ANY_DAY_S),
    "limits.first_byte_s": (0, _ANY_DAY_S),
    "limits.keep_alive_s": (0.1, _ANY_DAY_S),
    "limits.max_recoveries": (0, 1_000_000),
    "limits.quarantine_s": (0, _ANY_DAY_S),
    "admission.anonymous_tier": name_problem,
    "admission.lease_s": (1, 600),
    "admission.redis_timeout_s": (0.005, 5),
    "admission.retry_budget": (0, 10),
    "auth.jwt_jwks": _jwks,
    "auth.jwt_algorithms": _algorithm,
    "telemetry.trace_ratio": (0, 1),
    "telemetry.max_traces": (1, 10_000_000),
    "telemetry.max_age_s": (1, 366 * 86_400.0),
    "telemetry.price_input": (0, 1_000_000),
    "telemetry.price_cached": (0, 1_000_000),
    "telemetry.price_output": (0, 1_000_000),
    "telemetry.currency": _currency,
    "telemetry.baggage_keys": _baggage_key,
    "telemetry.content": _whose_content,
    "slo.time_scale": (0.0001, 1),
    "slo.webhooks": _http_url,
    "slo.external_url": _http_url,
    "auth.jwt_leeway_s": (0, 600),
    "restart.backoff_base_s": (0.001, 3600),
    "restart.backoff_cap_s": (0.001, 3600),
    "restart.intensity": (0, 1_000_000),
    "restart.period_s": (0.1, _ANY_DAY_S),
    "restart.pool_intensity": (0, 1_000_000),
    "restart.retry_parked_s": (0.1, _ANY_DAY_S),
    "restart.stable_after_s": (0, _ANY_DAY_S),
    "restart.start_timeout_s": (0.1, _ANY_DAY_S),
    "restart.hang_floor_s": (0.05, _ANY_DAY_S),
    "drain.grace_s": (0, _ANY_DAY_S),
    "drain.timeout_s": (0, _ANY_DAY_S),
}
"""What is allowed; a number without limits here is a mistake that `every_key` finds."""


@dataclass(frozen=True, slots=True)
class Key:
    """One setting and its names."""

    group: str
    """Table in the file and field of `Settings`; empty for what stands in neither."""
    name: str
    kind: Kind
    default: Any

    @property
    def in_file(self) -> str:
        """Its place in spillway.toml."""
        return f"{self.group}.{self.name}" if self.group else self.name

    @property
    def stem(self) -> str:
        """What flag and variable are made of."""
        return f"{self.group}_{self.name}" if self.group and self.group not in _STANDING_ALONE else self.name

    @property
    def flag(self) -> str:
        """Its flag."""
        return "--" + self.stem.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return "SPILLWAY_" + self.stem.upper()

    @property
    def is_switch(self) -> bool:
        """Whether the flag takes no value."""
        return isinstance(self.kind, Switch)


def every_key() -> tuple[Key, ...]:
    """Return all settings but those that are read by hand, in the order of `Settings`."""
    return tuple(_keys(Settings, group=""))


def _keys(owner: type, group: str) -> Iterator[Key]:
    hints = typing.get_type_hints(owner)
    for field in fields(owner):
        if group == "" and field.name in BY_HAND:
            continue
        hint = hints[field.name]
        if is_dataclass(hint):
            yield from _keys(typing.cast("type", hint), group=field.name)
        else:
            place = f"{group}.{field.name}" if group else field.name
            yield Key(group, field.name, kind_of(hint, _LIMITS.get(place)), _default(field))


def _default(field: Field[Any]) -> Any:
    return None if field.default is MISSING else field.default


ENGINES_OF_A_MODEL: Final[Kind] = Perhaps(kind_of(int, (1, 1024)))
"""The kind of `ModelSettings.engines`."""


def documentation(owner: type = Settings, group: str = "") -> dict[str, str]:
    """Return what the source says of each setting, by its place in the file. Parses source: for `--help`."""
    found: dict[str, str] = {}
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    for statement, after in itertools.pairwise(body):
        match statement, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[f"{group}.{name}" if group else name] = " ".join(text.split())
    for field_name, hint in typing.get_type_hints(owner).items():
        if is_dataclass(hint) and hint is not ModelSettings:
            found |= documentation(typing.cast("type", hint), field_name)
    return found
