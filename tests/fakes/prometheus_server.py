"""A real Prometheus on loopback, for as long as a test wants it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

PATIENCE_S = 40.0
CONFIGURATION = """
global: {{scrape_interval: {every}, evaluation_interval: {every}}}
rule_files: {rules}
scrape_configs:
  - job_name: spillway
    static_configs: [{{targets: ['{target}']}}]
"""


@asynccontextmanager
async def prometheus(
    folder: Path, target: str, *, rules: Sequence[Path] = (), every: str = "1s"
) -> AsyncIterator[Callable[..., Any]]:
    """Yield what asks the API of a Prometheus that scrapes `target` and evaluates `rules`."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    file = folder / "prometheus.yml"
    paths = json.dumps([str(path) for path in rules])
    file.write_text(CONFIGURATION.format(rules=paths, target=target, every=every), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *("prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"),
        *(f"--web.listen-address={address}", "--enable-feature=exemplar-storage", "--log.level=error"),
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as http:

            async def ask(what: str, **given: str) -> Any:
                answer = await http.post(f"/api/v1/{what}", data=given)
                body = json.loads(answer.content)
                assert body["status"] == "success", (given, body)
                return body["data"]

            async with asyncio.timeout(PATIENCE_S):
                while not await is_up(http):
                    assert process.returncode is None, "prometheus ended"
                    await asyncio.sleep(0.1)
            yield ask
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def is_up(http: httpx.AsyncClient) -> bool:
    """Whether it answers."""
    try:
        return (await http.get("/-/ready")).status_code == 200
    except httpx.TransportError:
        return False
