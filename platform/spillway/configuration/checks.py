"""What must hold between settings, and between settings and this machine's files."""

import ipaddress
import ssl
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from spillway.configuration.layers import did_you_mean
from spillway.errors import ConfigurationError
from spillway.settings import AuthSettings, GenerationSettings, NetworkSettings, RestartSettings, Settings
from spillway_wire.sampling import SamplingParams, sampling_problems

OBJECTIVES: Final = ("auto", "standard", "laptop")
"""Names that mean objectives of ours; the supervisor does not read them itself."""
Origin = Callable[[str], str]
"""Returns the name that a setting was given by: its place in the file if it is a default."""


StoredTenants = Callable[[str | None], bool]
"""Tells of a `state_dir` whether tenants were made at run time there."""


def check(settings: Settings, origin: Origin, has_tenants: StoredTenants) -> None:
    """Raise `ConfigurationError` if the settings contradict each other or name files that are not there."""
    _check_listening(settings, origin, has_tenants)
    _check_tls(settings.network, origin)
    _check_restart(settings.restart, origin)
    _check_generation(settings.generation, origin)
    _check_names(settings)
    _check_routes(settings)
    _check_tiers(settings, origin)
    _check_tenants(settings)
    _check_issuer(settings.auth, origin)
    _check_objectives(settings.slo.objectives, origin("slo.objectives"))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`. Of names only `localhost` is known to be so."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def _check_listening(settings: Settings, origin: Origin, has_tenants: StoredTenants) -> None:
    network = settings.network
    asks_for_keys = bool(settings.tenants) or settings.auth.jwt_issuer is not None
    if not is_loopback(network.host) and not network.open and not asks_for_keys and not has_tenants(settings.state_dir):
        raise ConfigurationError(
            f"{origin('network.host')} is {network.host!r}, which others can reach, and nobody would be asked for a "
            f"key; make a tenant (`spillway tenants add NAME`, or [tenants.NAME] in the file), or name an issuer of "
            f"tokens (auth.jwt_issuer), or say --open if anybody is meant"
        )
    same_host = network.host == network.ops_host or {"0.0.0.0", "::"} & {network.host, network.ops_host}  # noqa: S104
    if network.port and network.port == network.ops_port and same_host:
        raise ConfigurationError(
            f"{origin('network.ops_port')} is {network.ops_port}, as {origin('network.port')} is; they must differ"
        )


def _check_tls(network: NetworkSettings, origin: Origin) -> None:
    files = {"network.tls_certificate": network.tls_certificate, "network.tls_key": network.tls_key}
    given = {place: file for place, file in files.items() if file is not None}
    if len(given) == 1:
        ((there, _),) = given.items()
        (missing,) = files.keys() - given.keys()
        raise ConfigurationError(f"{origin(there)} is given without {missing}; TLS needs both, or neither")
    for place, file in given.items():
        _check_file(file, origin(place))
    if network.tls_certificate is not None and network.tls_key is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                network.tls_certificate, network.tls_key, password=""
            )
        except (ssl.SSLError, OSError, ValueError) as error:
            raise ConfigurationError(
                f"{origin('network.tls_certificate')} and {origin('network.tls_key')} must be a certificate chain and "
                f"its key without a password, both in PEM ({error})"
            ) from None


def _check_restart(restart: RestartSettings, origin: Origin) -> None:
    if restart.backoff_base_s > restart.backoff_cap_s:
        raise ConfigurationError(
            f"{origin('restart.backoff_base_s')} is {restart.backoff_base_s:g}; it must be at most "
            f"{origin('restart.backoff_cap_s')} ({restart.backoff_cap_s:g})"
        )


def _check_generation(generation: GenerationSettings, origin: Origin) -> None:
    """Refuse what engines would refuse: a wrong default fails every request that leaves it open."""
    params = SamplingParams(
        temperature=generation.temperature,
        top_k=generation.top_k,
        top_p=generation.top_p or 1.0,  # 0 is allowed: a gateway makes it the smallest share there is
        repetition_penalty=generation.repetition_penalty,
        seed=generation.seed,
    )
    for problem in sampling_problems(params, vocab_size=1):
        name, _, wrong = problem.partition(" ")
        raise ConfigurationError(f"{origin('generation.' + name)} {wrong}")


def _check_names(settings: Settings) -> None:
    names = Counter(name for model in settings.models for name in (model.name, *model.aliases))
    twice = sorted(name for name, count in names.items() if count > 1)
    if twice:
        raise ConfigurationError(f"two models, or a model and an alias, are called {twice[0]!r}; names must differ")


def _meant(settings: Settings, name: str) -> str:
    """Return a hint at the served model that a wrong name may mean."""
    names = [model.name for model in settings.models]
    aliases = {alias: model.name for model in settings.models for alias in model.aliases}
    if name in aliases:
        return f" (it is an alias: write {aliases[name]!r})"
    return did_you_mean(name, names) or f"; served are: {', '.join(names)}"


def _check_routes(settings: Settings) -> None:
    names = [model.name for model in settings.models]
    aliases = {alias: model.name for model in settings.models for alias in model.aliases}
    for place, rule in enumerate(settings.routes):
        if rule.to not in names:
            raise ConfigurationError(
                f"routes[{place}].to is {rule.to!r}, which is not the name of a served model{_meant(settings, rule.to)}"
            )
        if rule.model is not None and rule.model not in {*names, *aliases}:
            hint = did_you_mean(rule.model, [*names, *aliases]) or f"; there are: {', '.join([*names, *aliases])}"
            raise ConfigurationError(
                f"routes[{place}].model is {rule.model!r}, which no request can name: it is neither a served model nor "
                f"an alias{hint}"
            )


def _check_tiers(settings: Settings, origin: Origin) -> None:
    _check_tier(settings, settings.admission.anonymous_tier, origin("admission.anonymous_tier"))
    for place, step in enumerate(settings.brownout):
        for tier in step.tiers:
            _check_tier(settings, tier, f"brownout[{place}].tiers")
    names = Counter(step.name for step in settings.brownout)
    twice = sorted(name for name, count in names.items() if count > 1)
    if twice:
        raise ConfigurationError(f"two steps of brownout are called {twice[0]!r}; names must differ")


def _check_tier(settings: Settings, tier: str, place: str) -> None:
    if tier not in settings.tiers:
        hint = did_you_mean(tier, settings.tiers) or f"; there are: {', '.join(settings.tiers)}"
        raise ConfigurationError(f"{place} names the tier {tier!r}, which is not there{hint}")


def _check_tenants(settings: Settings) -> None:
    names = [model.name for model in settings.models]
    keys: dict[str, str] = {}
    for declared in settings.tenants:
        place = f"tenants.{declared.tenant.id}"
        _check_tier(settings, declared.tenant.tier, f"{place}.tier")
        for model in declared.tenant.models:
            if model not in names:
                raise ConfigurationError(
                    f"{place}.models names {model!r}, which is not the name of a served model{_meant(settings, model)}"
                )
        for key in declared.keys:
            public = key.partition(":")[0]
            if public in keys:
                raise ConfigurationError(
                    f"{place}.keys names the key {public}, which {keys[public]}.keys names already"
                )
            keys[public] = place


def _check_issuer(auth: AuthSettings, origin: Origin) -> None:
    given = {"auth.jwt_audience": auth.jwt_audience, "auth.jwt_jwks": auth.jwt_jwks}
    if auth.jwt_issuer is None:
        for place, value in given.items():
            if value is not None:
                raise ConfigurationError(
                    f"{origin(place)} is given without auth.jwt_issuer: no token would be believed"
                )
        return
    for place, value in given.items():
        if value is None:
            raise ConfigurationError(f"{origin('auth.jwt_issuer')} is given without {place}; tokens need all three")
    if not auth.jwt_algorithms:
        raise ConfigurationError(f"{origin('auth.jwt_algorithms')} is empty: no token would be believed")
    if auth.jwt_jwks is not None and not auth.jwt_jwks.startswith("https://"):
        _check_file(auth.jwt_jwks, origin("auth.jwt_jwks"))


def _check_objectives(given: str, place: str) -> None:
    if given not in OBJECTIVES and not Path(given).exists():
        raise ConfigurationError(
            f"{place} is {given!r}; it must be {', '.join(OBJECTIVES)}, or a file or a folder that is there"
        )


def _check_file(file: str, place: str) -> None:
    try:
        with Path(file).open("rb"):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"{place} is {file!r}; it must be a file that can be read ({error.strerror})"
        ) from None
