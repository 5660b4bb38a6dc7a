"""Tells those whom `loop.toml` names. One that cannot be told costs nobody else anything."""

import smtplib
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any, Final

import httpx
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from spillway_chaos.scorecard.settings import Delivery, Mail

_TRIES: Final = 3
_TIMEOUT_S: Final = 10.0


def deliver(delivery: Delivery, subject: str, body: dict[str, Any], text: str) -> Iterator[str]:
    """Tell all; yield who could not be told, and why."""
    for url in delivery.webhooks:
        wrong = _post(url, {"subject": subject, **body})
        if wrong:
            yield f"{url}: {wrong}"
    if delivery.mail is not None:
        wrong = _mail(delivery.mail, subject, text)
        if wrong:
            yield f"mail to {', '.join(delivery.mail.to)}: {wrong}"


def _post(url: str, body: dict[str, Any]) -> str:
    tries = Retrying(
        stop=stop_after_attempt(_TRIES),
        wait=wait_random_exponential(multiplier=0.2, max=5.0),
        retry=retry_if_exception_type(httpx.HTTPError),
    )
    try:
        for attempt in tries:
            with attempt:
                httpx.post(url, json=body, timeout=_TIMEOUT_S).raise_for_status()
    except RetryError as error:
        return str(error.last_attempt.exception())
    return ""


def _mail(mail: Mail, subject: str, text: str) -> str:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = mail.sender, ", ".join(mail.to), subject
    message.set_content(text)
    host, _, port = mail.server.partition(":")
    try:
        with smtplib.SMTP(host, int(port or 25), timeout=_TIMEOUT_S) as server:
            server.send_message(message)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return ""
