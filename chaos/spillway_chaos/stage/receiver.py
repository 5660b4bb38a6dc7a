"""Hears alerts as an operator would: a receiver of Alertmanager's webhooks, on a free port of loopback."""

import json
import threading
import time
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

PAGE = "page"


class Alert(msgspec.Struct, kw_only=True):
    """One that fired."""

    name: str
    family: str
    """Of its objective, such as `availability`."""
    tier: str
    severity: str
    began: float
    """Unix time, as told."""
    ended: float | None = None
    heard_s: float = 0.0
    """How long after its beginning it was heard of here."""


class Receiver:
    """Use it as a context manager."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self.changed = threading.Event()
        heard = self._heard

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                heard(json.loads(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What is to be told."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def _heard(self, body: dict[str, Any]) -> None:
        for told in body.get("alerts", ()):
            self._note(told)
        self.changed.set()

    def _note(self, told: dict[str, Any]) -> None:
        labels, began = told["labels"], _unix(told["startsAt"])
        objective, tier = labels.get("sloth_slo", ""), labels.get("tier", "")
        known = next((a for a in self.alerts if a.name == labels["alertname"] and a.began == began), None)
        if known is None:
            known = Alert(
                name=labels["alertname"],
                family=objective.removeprefix(f"{tier}-"),
                tier=tier,
                severity=labels.get("severity", ""),
                began=began,
                heard_s=time.time() - began,
            )
            self.alerts.append(known)
        if told["status"] == "resolved":
            known.ended = _unix(told["endsAt"])

    def firing(self) -> list[Alert]:
        """Return the pages that have not ended."""
        return [alert for alert in self.alerts if alert.ended is None and alert.severity == PAGE]

    def wait_silent(self, within_s: float) -> bool:
        """Return whether all pages end within so long."""
        deadline = time.monotonic() + within_s
        while self.firing():
            left = deadline - time.monotonic()
            self.changed.clear()
            if left <= 0 or (self.firing() and not self.changed.wait(left)):
                return not self.firing()
        return True

    def close(self) -> None:
        """Hear nothing more. Idempotent."""
        self._server.shutdown()
        self._server.server_close()


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
