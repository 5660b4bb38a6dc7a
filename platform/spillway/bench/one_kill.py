"""One kill to watch: `python -m spillway.bench one_kill` counts on the running instance, and kills who counts.

It reads the admin key of this machine to learn which engine has the request. What is shown is what a client sees; the
mark says where the engine died.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence

import httpx

from spillway.bench.streams import Count
from spillway.cli import Surroundings
from spillway.commands import instance
from spillway.errors import SpillwayError

AFTER_PIECES = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, kill, and compare; return 1 if the answer is not exact."""
    parser = argparse.ArgumentParser(prog="python -m spillway.bench one_kill", description=__doc__)
    parser.add_argument("--last", type=int, default=300, help="count up to this")
    instance.add_arguments(parser)
    given = vars(parser.parse_args(arguments))
    count = Count(1, given["last"])
    try:
        with instance.InstanceClient.find(given, Surroundings()) as client:
            return _watch(client, count)
    except SpillwayError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _watch(client: instance.InstanceClient, count: Count) -> int:
    said, killed, longest_ms, last = "", None, 0.0, time.perf_counter()
    for number, text in enumerate(_texts(client, count)):
        now = time.perf_counter()
        if number:
            longest_ms = max(longest_ms, 1e3 * (now - last))
        said += text
        sys.stdout.write(text)
        sys.stdout.flush()
        if killed is None and number == AFTER_PIECES:
            killed = _kill(client)
            sys.stdout.write(f" [killed {killed}]")
        last = time.perf_counter()
    exact = said.strip() == count.answer
    sys.stdout.write(f"\n{'exact' if exact else 'NOT exact'}; the longest pause was {longest_ms:.0f} ms\n")
    return 0 if exact and killed is not None else 1


def _texts(client: instance.InstanceClient, count: Count) -> Iterator[str]:
    """Yield the pieces of the streamed answer."""
    body = {**count.fields(), "stream": True}
    url = f"{client.api}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=60.0, verify=client.verify, trust_env=False) as response:
        for line in response.iter_lines():
            data = line.removeprefix("data: ")
            if data.startswith("{"):
                event = json.loads(data)
                if "error" in event:
                    sys.stdout.write(f"\n{event['error']['message']}\n")
                    return
                yield event["choices"][0]["delta"].get("content") or ""


def _kill(client: instance.InstanceClient) -> str | None:
    """Kill an engine that has a request, and return its name."""
    for engine in client.pool()["engines"]:
        if engine["running"]:
            os.kill(engine["pid"], signal.SIGKILL)
            return f"{engine['id']}, process {engine['pid']}"
    return None


if __name__ == "__main__":
    sys.exit(main())
