"""Every endpoint with the standard `curl`, as the README and scripts use it."""

import json
import shutil
import subprocess
from typing import Any

import pytest

from spillway.bench.served import Served
from spillway.bench.streams import Count

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="this machine has no curl")

COUNT = Count(37, 90)
MESSAGES = [{"role": "user", "content": COUNT.prompt}]


def curl(url: str, body: object = None, *flags: str) -> tuple[int, str]:
    command = ["curl", "--silent", "--show-error", "--max-time", "30", "--write-out", "\n%{http_code}", *flags]
    if body is not None:
        command += ["--json", json.dumps(body)]
    done = subprocess.run([*command, url], capture_output=True, text=True, check=True, timeout=60)
    text, _, status = done.stdout.rpartition("\n")
    return int(status), text


def answered(url: str, body: object = None, *flags: str) -> Any:
    status, text = curl(url, body, *flags)
    assert status == 200, text
    return json.loads(text)


def test_generate_answers_the_example_with_text_that_ends_by_itself(served: Served) -> None:
    body = {"prompt": "Hello, how are you?", "max_tokens": 50, "temperature": 0.7, "top_p": 0.95}
    answer = answered(f"{served.api_url}/generate", body)
    (output,) = answer["outputs"]
    assert output["index"] == 0
    assert output["text"].strip()
    assert output["finish_reason"] == "stop"
    assert len(output["token_ids"]) <= answer["usage"]["completion_tokens"] < 50


def test_three_prompts_give_three_outputs_in_order(served: Served) -> None:
    counts = [Count(3, 9), Count(250, 270), Count(41, 44)]
    body = {"prompts": [count.prompt for count in counts], "temperature": 0, "max_tokens": 50}
    outputs = answered(f"{served.api_url}/generate_batch", body)["outputs"]
    assert [output["text"].strip() for output in outputs] == [count.answer for count in counts]
    assert [output["index"] for output in outputs] == [0, 1, 2]


def test_a_stream_of_chat_ends_with_done(served: Served) -> None:
    body = {"model": "demo", "messages": MESSAGES, "temperature": 0, "stream": True}
    status, text = curl(f"{served.api_url}/v1/chat/completions", body, "--no-buffer")
    assert status == 200
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    pieces = [json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events[:-1]]
    assert "".join(pieces).strip() == COUNT.answer


def test_a_stream_of_generate_holds_text(served: Served) -> None:
    body = {"prompt": COUNT.prompt, "temperature": 0, "stream": True}
    status, text = curl(f"{served.api_url}/generate", body, "--no-buffer")
    assert status == 200
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    assert "".join(event.get("text", "") for event in events).strip() == COUNT.answer


def test_chat_and_completions_answer_whole(served: Served) -> None:
    chat = answered(f"{served.api_url}/v1/chat/completions", {"model": "demo", "messages": MESSAGES, "temperature": 0})
    assert chat["choices"][0]["message"]["content"].strip() == COUNT.answer
    text = answered(f"{served.api_url}/v1/completions", {"model": "demo", "prompt": "1 2 3", "max_tokens": 3})
    assert text["object"] == "text_completion"


def test_tokens_go_there_and_back(served: Served) -> None:
    tokens = answered(f"{served.api_url}/tokenize", {"prompt": "Grüße 😀 37"})["tokens"]
    assert answered(f"{served.api_url}/detokenize", {"tokens": tokens})["prompt"].strip() == "Grüße 😀 37"


@pytest.mark.parametrize("path", ["/health", "/ready", "/v1/models", "/v1/models/demo", "/openapi.json"])
def test_the_api_tells_of_itself(served: Served, path: str) -> None:
    assert answered(f"{served.api_url}{path}")


def test_a_request_that_is_wrong_gets_openais_error(served: Served) -> None:
    for body, status in (({"model": "demo"}, 400), ({"model": "nobody", "messages": MESSAGES}, 404)):
        got, text = curl(f"{served.api_url}/v1/chat/completions", body)
        assert got == status
        assert set(json.loads(text)["error"]) >= {"message", "type", "param", "code"}
    got, text = curl(f"{served.api_url}/v1/chat/completions", None, "--json", '{"model": "demo", "mess')
    assert got == 400
    assert "error" in json.loads(text)
    got, text = curl(f"{served.api_url}/no/such/place")
    assert got == 404
    assert "error" in json.loads(text)


def test_ops_answers_on_its_own_port_and_admin_wants_the_key(served: Served) -> None:
    assert answered(f"{served.ops_url}/health") == {"status": "healthy"}
    assert answered(f"{served.ops_url}/ready")
    status, text = curl(f"{served.ops_url}/metrics")
    assert status == 200
    assert "spillway" in text
    assert curl(f"{served.ops_url}/admin/pool")[0] == 401
    pool = answered(f"{served.ops_url}/admin/pool", None, "--header", f"Authorization: Bearer {served.admin_key}")
    assert [engine["id"] for engine in pool["engines"]] == ["engine-0", "engine-1"]
