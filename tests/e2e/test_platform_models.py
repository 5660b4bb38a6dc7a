"""Two models, an alias and rules, each model with an engine of its own, over TLS on both ports; commands trust it."""

import json
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from spillway.bench.served import SERVES_ALL, Served

FILE = """
engines = 1
[drain]
grace_s = 0
[network]
tls_certificate = "{certificate}"
tls_key = "{key}"
[models.chat]
model = "demo"
aliases = ["gpt-4o"]
[models.research]
model = "demo"
[[routes]]
to = "research"
model = "gpt-4o"
header = {{ X-Team = "research" }}
[[routes]]
to = "research"
model = "chat"
prompt_tokens_at_least = 100
"""
HELLO = "Hello"
LONG = "Tell me about the sea. " * 30


@pytest.fixture(scope="module")
def secured() -> Iterator[Served]:
    """An instance whose certificate is its own and bears the name under which the tests reach it."""
    with tempfile.TemporaryDirectory(prefix="spillway-e2e-") as name:
        folder = Path(name)
        certificate, key, file = folder / "own.pem", folder / "own.key", folder / "spillway.toml"
        openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        named = [*openssl, "-subj", "/CN=own", "-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run([*named, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        file.write_text(FILE.format(certificate=certificate, key=key))
        instance = Served.start("--config", str(file), *SERVES_ALL, folder=folder)
        try:
            yield instance
        finally:
            instance.end()


@pytest.fixture
def client(secured: Served) -> Iterator[httpx.Client]:
    trusting = ssl.create_default_context(cafile=str(secured.folder / "own.pem"))
    url = f"https://{secured.api[0]}:{secured.api[1]}"
    with httpx.Client(base_url=url, verify=trusting, timeout=30.0, trust_env=False) as client:
        yield client


def status(served: Served) -> dict[str, Any]:
    """What `spillway status --json` prints for somebody who knows the state folder alone."""
    command = [sys.executable, "-m", "spillway", "status", "--json", "--state-dir", str(served.folder / "state")]
    told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=served.folder / "state")
    found: dict[str, Any] = json.loads(told.stdout)
    return found


def served_tokens(pool: dict[str, Any]) -> dict[str, int]:
    return {engine["model"]: engine["counters"]["choices_completed"] for engine in pool["engines"]}


def test_names_an_alias_and_rules_choose_who_serves_and_only_its_engine_works(
    secured: Served, client: httpx.Client
) -> None:
    def serves(content: str, model: str, **headers: str) -> str:
        body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 4}
        answer = client.post("/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["model"])

    pool = status(secured)
    assert {model["name"]: model["aliases"] for model in pool["models"]} == {"chat": ["gpt-4o"], "research": []}
    assert [engine["state"] for engine in pool["engines"]] == ["ready", "ready"]

    assert serves(HELLO, "chat") == "chat"
    assert serves(HELLO, "gpt-4o") == "chat"
    assert serves(HELLO, "chat", **{"x-team": "research"}) == "chat"
    assert serves(HELLO, "research") == "research"
    assert serves(HELLO, "gpt-4o", **{"x-team": "research"}) == "research"
    assert serves(LONG, "gpt-4o") == "research"

    before, after = served_tokens(pool), served_tokens(status(secured))
    assert {model: after[model] - before[model] for model in after} == {"chat": 3, "research": 3}


def test_a_stream_comes_over_tls_as_it_does_without(client: httpx.Client) -> None:
    body = {"model": "chat", "messages": [{"role": "user", "content": "Count from 3 to 40"}], "temperature": 0}
    text = ""
    with client.stream("POST", "/v1/chat/completions", json=body | {"stream": True}) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    for line in lines[:-1]:
        text += json.loads(line)["choices"][0]["delta"].get("content") or ""
    assert text.split() == [str(number) for number in range(3, 41)]


@pytest.mark.parametrize("port", ["api", "ops"])
def test_neither_port_speaks_without_tls_or_to_who_does_not_trust_it(secured: Served, port: str) -> None:
    host, number = getattr(secured, port)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://{host}:{number}/health", trust_env=False)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"https://{host}:{number}/health", trust_env=False)
    trusting = ssl.create_default_context(cafile=str(secured.folder / "own.pem"))
    assert httpx.get(f"https://{host}:{number}/health", verify=trusting, trust_env=False).status_code == 200


def test_the_death_of_one_models_engine_is_no_matter_of_the_others(secured: Served, client: httpx.Client) -> None:
    (engine,) = (engine for engine in status(secured)["engines"] if engine["model"] == "chat")
    os.kill(engine["pid"], 9)
    body = {"model": "research", "prompt": "Hello", "max_tokens": 4}
    assert client.post("/generate", json=body).json()["model"] == "research"
    waited = client.post("/generate", json=body | {"model": "gpt-4o"})  # for the engine that is started again
    assert waited.json()["model"] == "chat"
    after = {each["model"]: each["incarnation"] for each in status(secured)["engines"]}
    assert after == {"chat": engine["incarnation"] + 1, "research": 1}
