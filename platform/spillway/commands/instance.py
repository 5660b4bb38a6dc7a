"""How `status`, `drain` and `restart` reach the running instance: its ops port, with the admin key of this machine.

Where ops listens is told by `--ops`, else by the file that the instance left in the state folder, else by the settings.
"""

import argparse
import ssl
from collections.abc import Mapping
from typing import Any, Final, Self

import httpx

from spillway.cli import Surroundings
from spillway.configuration import configure
from spillway.errors import InstanceError, NotRunningError, OrderRefusedError, StartError
from spillway.state import Instance, StateFolder
from spillway.supervisor.sockets import url_of

_TIMEOUT_S: Final = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags by which an instance is found."""
    parser.add_argument("--ops", metavar="URL", help="address of its ops port, such as http://127.0.0.1:8001")
    for flag, explained in (
        ("--state-dir", "state folder of the instance, which holds its admin key"),
        ("--config", "configuration file of the instance"),
    ):
        parser.add_argument(flag, dest=flag, metavar="PATH", default=argparse.SUPPRESS, help=explained)


class InstanceClient:
    """Asks one instance. Use it with `with`."""

    def __init__(
        self, url: str, key: str, *, api: str, verify: ssl.SSLContext | bool = True, running: Instance | None
    ) -> None:
        self.url = url
        self.api = api
        """Where its gateways listen."""
        self.verify = verify
        """What its certificate is held against."""
        self._running = running
        headers = {"authorization": f"Bearer {key}"}
        # trust_env=False: a proxy for the internet has no business between a command and its own machine.
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S, verify=verify, trust_env=False)

    @classmethod
    def find(cls, given: Mapping[str, Any], around: Surroundings) -> "InstanceClient":
        """Return a client of the instance that the arguments mean."""
        flags = {flag: value for flag, value in given.items() if flag in {"--state-dir", "--config"}}
        settings = configure(flags, around.environment, around.folder)
        state = StateFolder.of(settings.state_dir, around.environment)
        running = state.instance()
        network, tls = settings.network, settings.network.tls_certificate is not None
        url = given.get("ops") or (running.ops if running else url_of(network.ops_host, network.ops_port, tls=tls))
        api = running.api if running else url_of(network.host, network.port, tls=tls)
        if not url.startswith(("http://", "https://")):
            url = f"http://{url}"
        try:
            key = state.admin_key()
        except StartError as error:
            if not state.key_file.exists():
                raise NotRunningError(
                    f"no Spillway has run with the state folder {state.path}: start one with `spillway serve`, or name "
                    f"its folder with --state-dir"
                ) from None
            raise InstanceError(str(error)) from None
        certificate = network.tls_certificate or (running.tls_certificate if running else None)
        return cls(url.rstrip("/"), key, api=api, verify=_trust(certificate), running=running)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def pool(self) -> dict[str, Any]:
        """Return the state of everything (`GET /admin/pool`)."""
        return self._ask("GET", "/admin/pool")

    def objectives(self) -> dict[str, Any]:
        """Return how objectives stand (`GET /slo`)."""
        return self._ask("GET", "/slo")

    def order(self, path: str) -> str:
        """Give an order and return what the instance says to it."""
        return str(self._ask("POST", path).get("message", ""))

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        try:
            response = self._http.request(method, path)
            body = response.json()
        except httpx.ConnectError as error:
            pid = f" (it was announced by process {self._running.pid})" if self._running else ""
            raise NotRunningError(
                f"nothing answers at {self.url}{pid}: {error}; start Spillway with `spillway serve`, or say where it "
                f"is with --ops URL"
            ) from None
        except httpx.HTTPError as error:
            raise InstanceError(f"{self.url} does not answer as it should: {type(error).__name__} {error}") from None
        except ValueError:
            raise InstanceError(f"what answers at {self.url} is not Spillway's ops port; say --ops URL") from None
        if response.is_success and isinstance(body, dict):
            return body
        message = _message(body) or f"status {response.status_code}"
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise InstanceError(
                f"{self.url} does not accept this machine's admin key; name the state folder of that instance with "
                f"--state-dir"
            )
        raise OrderRefusedError(f"{self.url} refused: {message}")


def _trust(certificate: str | None) -> ssl.SSLContext | bool:
    """Trust just the instance's own certificate, whatever name it bears: it is made for the name clients use."""
    if certificate is None:
        return True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(certificate)
    except OSError as error:
        raise InstanceError(f"the instance's certificate {certificate} cannot be read: {error}") from None
    return context


def _message(body: object) -> str:
    match body:
        case {"error": {"message": str(message)}}:
            return message
    return ""
