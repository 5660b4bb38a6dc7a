"""Prompts and answers leave the gateway only with its answer, unless the settings name their tenant.

A gateway with all its ways out: the trace store's files, the log's lines, and a collector. Each is searched for what
was asked and answered.
"""

import asyncio
import io
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spillway.settings import Settings, TelemetrySettings
from spillway.telemetry.assembly import open_traces, trace_options
from spillway.telemetry.logs import EventLog

ASKED = "xyzzy-4711"
BROKEN = "plugh-1148"
"""In a body that is no JSON: nobody can say what of it is a prompt."""
ANSWERED = "2 3 4 5 6 7 8 9"
TENANT = "anonymous"
REQUESTS = (
    ("/v1/chat/completions", {"model": "demo", "messages": [{"role": "user", "content": ASKED}]}),
    ("/v1/chat/completions", {"model": "demo", "messages": [{"role": "user", "content": ASKED}], "stream": True}),
    ("/v1/completions", {"model": "demo", "prompt": ASKED}),
    ("/generate_batch", {"prompts": [ASKED, ASKED]}),
    ("/generate", {"prompt": ASKED, "temperature": 9}),
    ("/generate", {"prompt": ASKED + " and on" * 5000}),
)


@pytest.mark.parametrize(
    ("content", "is_there"),
    [((), False), (("somebody-else",), False), ((TENANT,), True), (("*",), True)],
    ids=["nobody's", "another's", "this one's", "everybody's"],
)
def test_contents_are_where_the_settings_ask_for_them_and_nowhere_else(
    content: tuple[str, ...],
    is_there: bool,
    *,
    gateway_house: ModuleType,
    asgi: ModuleType,
    collectors: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings(telemetry=TelemetrySettings(content=content))
    stream = io.StringIO()
    log = EventLog(stream)
    with collectors.HttpCollector() as collector:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "NO_PROXY": "127.0.0.1"}
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        house = gateway_house.House(ANSWERED, settings)
        traces = open_traces(tmp_path, environment, log, process="gateway-0", options=trace_options(settings.telemetry))
        house.gateway.tracing, house.gateway.log = traces.tracing, log

        async def ask() -> list[Any]:
            await asgi.Call(house.app, "/generate", b'{"prompt": "' + BROKEN.encode()).run()
            return [await asgi.Call(house.app, path, body).run() for path, body in REQUESTS]

        calls = asyncio.run(ask())
        traces.close(10)
        log.close(10)
        sent = b"".join(request.SerializeToString() for request in collector.requests)
    assert [call.status for call in calls] == [200, 200, 200, 200, 400, 400]
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    logged = stream.getvalue().encode()
    assert b"chat demo" in stored
    assert b"chat demo" in sent
    assert b'"event":"request"' in logged
    assert BROKEN.encode() not in stored + sent + logged
    for where in (stored, sent, logged):
        for what in (ASKED.encode(), ANSWERED.encode()):
            assert (what in where) is is_there
