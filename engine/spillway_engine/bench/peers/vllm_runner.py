"""Stand-alone runner: one case against vLLM's own HTTP server, streamed as its users would.

Process: a child of the bench, run by the interpreter of vLLM's environment; it starts the server as its own child and
takes it down before it answers. Reads the case file named in the first argument and prints one JSON line.

Options of a case: ``dtype`` (as ``vllm serve --dtype``), ``bind`` (as ``VLLM_CPU_OMP_THREADS_BIND``; else the first
`threads` cores), ``preload`` (Intel's OpenMP instead of torch's), ``kv_gib``.
"""

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from importlib import import_module
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 1200.0
MODEL_NAME = "bench"
aiohttp: Any = import_module("aiohttp")


def free_port() -> int:
    """Return a TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cores(threads: int) -> str:
    """Return the first `threads` cores that this process may use, as vLLM wants to read them."""
    return ",".join(str(core) for core in sorted(os.sched_getaffinity(0))[:threads])


def preloads() -> list[str]:
    """Intel's OpenMP of this environment, which vLLM's documentation asks to preload on x86."""
    files = distribution("intel-openmp").files or []
    return [str(Path(str(file.locate())).resolve()) for file in files if file.name == "libiomp5.so"]


def server_environment(case: dict[str, Any]) -> dict[str, str]:
    """Return the environment of the server: offline, `threads` compute threads, a bounded key-value cache."""
    options = case["options"]
    return {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_CPU_KVCACHE_SPACE": str(options.get("kv_gib", 1)),
        "VLLM_CPU_OMP_THREADS_BIND": options.get("bind") or cores(case["threads"]),
        "VLLM_CACHE_ROOT": str(Path(case["model_path"]).parent.with_name("cache") / "vllm"),
        "OMP_NUM_THREADS": str(case["threads"]),
        "LD_PRELOAD": ":".join(preloads() if options.get("preload") else []),
    }


def server_command(case: dict[str, Any], port: int) -> list[str]:
    """Return the command line of the server."""
    longest = max(map(len, case["prompts"])) + case["max_tokens"]
    return [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", case["model_path"], "--served-model-name", MODEL_NAME),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", case["options"].get("dtype", "auto")),
        *("--max-model-len", str(longest), "--max-num-seqs", str(max(case["concurrency"], 1))),
        "--disable-uvicorn-access-log",
    ]


async def wait_until_healthy(session: Any, url: str, server: subprocess.Popen[bytes]) -> None:
    """Return when the server answers; raise RuntimeError when it ends or takes longer than `START_TIMEOUT_S`."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with status {server.returncode} before it was ready")
        try:
            async with session.get(f"{url}/health") as response:
                if response.status == 200:
                    return
        except aiohttp.ClientConnectionError:
            pass
        await asyncio.sleep(0.5)
    raise RuntimeError(f"the server was not ready after {START_TIMEOUT_S:.0f} s")


async def complete(session: Any, url: str, prompt: list[int], max_tokens: int) -> tuple[float, int]:
    """Stream one completion; return the seconds to its first token and its number of tokens."""
    body = {
        "model": MODEL_NAME,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "min_tokens": max_tokens,
        "ignore_eos": True,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    begin = time.perf_counter()
    first, tokens = 0.0, 0
    async with session.post(f"{url}/v1/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            first = first or time.perf_counter()
            if b'"completion_tokens"' in line:
                tokens = json.loads(line[6:])["usage"]["completion_tokens"]
    return first - begin, tokens


async def closed_loop(
    session: Any, url: str, prompts: list[list[int]], max_tokens: int, concurrency: int
) -> list[tuple[float, int]]:
    """Send every prompt, `concurrency` at a time."""
    waiting = iter(prompts)

    async def client() -> list[tuple[float, int]]:
        return [await complete(session, url, prompt, max_tokens) for prompt in waiting]

    answers = await asyncio.gather(*(client() for _ in range(concurrency)))
    return [answer for each in answers for answer in each]


async def measure(case: dict[str, Any], url: str, server: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Warm up with other prompts of the same lengths, then measure all prompts of the case."""
    prompts, concurrency = case["prompts"], case["concurrency"]
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await wait_until_healthy(session, url, server)
        warm = [prompt[::-1] for prompt in prompts[:concurrency]]
        await closed_loop(session, url, warm, case["max_tokens"], concurrency)
        begin = time.perf_counter()
        answers = await closed_loop(session, url, prompts, case["max_tokens"], concurrency)
        seconds = time.perf_counter() - begin
    return {
        "served": True,
        "version": version("vllm-cpu"),
        "note": ", ".join(f"{key} {value}" for key, value in case["options"].items()),
        "output_tokens": sum(tokens for _, tokens in answers),
        "seconds": seconds,
        "first_token_ms_p50": 1e3 * statistics.median(first for first, _ in answers),
    }


def main() -> None:
    """Start the server, run the case, stop the server, print the result."""
    case = json.loads(Path(sys.argv[1]).read_text())
    port = free_port()
    server = subprocess.Popen(  # noqa: S603 - the command is made above, of this interpreter and a checked case
        server_command(case, port), env=server_environment(case), stdout=sys.stderr
    )
    try:
        result = asyncio.run(measure(case, f"http://127.0.0.1:{port}", server))
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
    print(json.dumps(result))  # noqa: T201 - the answer of this process


if __name__ == "__main__":
    main()
