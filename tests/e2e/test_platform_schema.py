"""A fuzz of the API against its own `/openapi.json`: no answer is a fault of ours, and none is off-schema."""

import asyncio
import subprocess
import sys
from pathlib import Path

from spillway.bench.books import is_idle
from spillway.bench.served import Served

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_whatever_is_sent_the_answer_is_in_the_schema_and_no_fault_of_ours(served: Served, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{served.api_url}/openapi.json"),
        *("--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--max-examples", "25"),
        *("--generation-deterministic", "--request-timeout", "20"),
        *("--suppress-health-check", "all", "--warnings", "off", "--no-color"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "POST /v1/chat/completions" in done.stdout or "passed" in done.stdout
    asyncio.run(served.until(is_idle))
