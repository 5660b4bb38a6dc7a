"""What must hold between settings, and between settings and this machine's files."""

import ipaddress
import ssl
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from spillway.configuration.layers import did_you_mean
from spillway.errors import ConfigurationError
from spillway.settings import GenerationSettings, NetworkSettings, RestartSettings, Settings
from spillway_wire.sampling import SamplingParams, sampling_problems

Origin = Callable[[str], str]
"""Returns the name that a setting was given by: its place in the file if it is a default."""


def check(settings: Settings, origin: Origin) -> None:
    """Raise `ConfigurationError` if the settings contradict each other or name files that are not there."""
    _check_listening(settings.network, origin)
    _check_tls(settings.network, origin)
    _check_restart(settings.restart, origin)
    _check_generation(settings.generation, origin)
    _check_names(settings)
    _check_routes(settings)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`. Of names only `localhost` is known to be so."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def _check_listening(network: NetworkSettings, origin: Origin) -> None:
    if not is_loopback(network.host) and not network.open:
        raise ConfigurationError(
            f"{origin('network.host')} is {network.host!r}, which others can reach, and nobody would be asked for a "
            f"key; say --open if that is meant, or keep 127.0.0.1 and put a proxy in front"
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
        try:
            with Path(file).open("rb"):
                pass
        except OSError as error:
            raise ConfigurationError(
                f"{origin(place)} is {file!r}; it must be a file that can be read ({error.strerror})"
            ) from None
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


def _check_routes(settings: Settings) -> None:
    names = [model.name for model in settings.models]
    aliases = {alias: model.name for model in settings.models for alias in model.aliases}
    for place, rule in enumerate(settings.routes):
        if rule.to not in names:
            meant = f" (it is an alias: write {aliases[rule.to]!r})" if rule.to in aliases else ""
            hint = meant or did_you_mean(rule.to, names) or f"; served are: {', '.join(names)}"
            raise ConfigurationError(
                f"routes[{place}].to is {rule.to!r}, which is not the name of a served model{hint}"
            )
        if rule.model is not None and rule.model not in {*names, *aliases}:
            hint = did_you_mean(rule.model, [*names, *aliases]) or f"; there are: {', '.join([*names, *aliases])}"
            raise ConfigurationError(
                f"routes[{place}].model is {rule.model!r}, which no request can name: it is neither a served model nor "
                f"an alias{hint}"
            )
