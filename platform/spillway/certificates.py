"""Certificates that are renewed while everything runs: read again from the same files, for every connection to come."""

import ssl
from collections.abc import Callable

import uvicorn

from spillway.settings import NetworkSettings


def renew(config: uvicorn.Config, network: NetworkSettings, log: Callable[..., None]) -> None:
    """Show the certificate that the files hold now; one that cannot be read is told, and the old one stays.

    Connections that are open keep the one that they began with.
    """
    if network.tls_certificate is None or not config.loaded or config.ssl is None:
        return  # without TLS, or not begun: it reads the files when it begins
    try:
        # Tried on a context that nobody uses: a key that is not the certificate's would leave ours with neither.
        for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), config.ssl):
            context.load_cert_chain(network.tls_certificate, network.tls_key)
    except OSError as error:  # ssl.SSLError is one, too
        log("certificate_unreadable", file=network.tls_certificate, error=str(error))
    else:
        log("certificate_read", file=network.tls_certificate)
