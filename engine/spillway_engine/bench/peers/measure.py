"""One case through one peer: a child process, one line of JSON, and never an exception for what the peer did.

Process: the bench. The child leads a session of its own, so that whatever it started ends with it: when it answers,
when it crashes, when it runs out of time, and when the bench itself is interrupted. What the peer and its children say
on standard error stays in ``<logs>/<peer>.log``.
"""

import json
import os
import signal
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path

from spillway_engine.bench.peers.contract import Peer, PeerCase, PeerOutcome, PeerResult, PeerUnavailable
from spillway_engine.bench.peers.environment import DEFAULT_ROOT, EnvironmentFailed, last_line

DEFAULT_LOGS = Path(".bench/logs")
DEFAULT_TIMEOUT_S = 1800.0


def measure(
    peer: Peer,
    case: PeerCase,
    *,
    venvs: Path = DEFAULT_ROOT,
    logs: Path = DEFAULT_LOGS,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> PeerOutcome:
    """Run `case` through `peer`; blocks until it answered, failed, or `timeout_s` have passed."""
    try:
        interpreter = peer.interpreter(venvs)
    except EnvironmentFailed as error:
        return PeerUnavailable(name=peer.name, reason=f"not installed: {error}")
    logs.mkdir(parents=True, exist_ok=True)
    log_file = logs.absolute() / f"{peer.name}.log"
    with tempfile.TemporaryDirectory(prefix="bench-peer-") as scratch:
        case_file, answer_file = Path(scratch) / "case.json", Path(scratch) / "answer"
        case_file.write_text(json.dumps({**asdict(case), "options": dict(peer.options)}, default=str))
        # -P: the runner's folder must not shadow the peer's own modules.
        command = [str(interpreter), "-P", str(peer.runner), str(case_file)]
        failure = _run(command, answer_file, log_file, case.threads, timeout_s)
        if failure is not None:
            return PeerUnavailable(name=peer.name, reason=failure)
        return _read(peer.name, answer_file.read_text(errors="replace"))


def _run(command: list[str], answer_file: Path, log_file: Path, threads: int, timeout_s: float) -> str | None:
    """Run the command to its end; return in words what went wrong, or None.

    Its output goes to files, as a pipe would stay open for as long as any grandchild lives.
    """
    with answer_file.open("w") as stdout, log_file.open("w") as stderr:
        try:
            child = subprocess.Popen(  # noqa: S603 - our runner, in an environment that we made
                command,
                env=os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"},
                cwd=answer_file.parent,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        except OSError as error:
            return f"did not start: {error}"
        try:
            status = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return f"no answer within {timeout_s:g} s"
        finally:
            _end_session(child)
    return f"ended with status {status}: {last_line(log_file.read_text(errors='replace'))}" if status else None


def _end_session(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and whatever it left behind."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it ended, and left nobody
    finally:
        child.wait()


def _read(name: str, output: str) -> PeerOutcome:
    """Translate the last line of a runner's output; libraries may have printed before it."""
    lines = output.strip().splitlines()
    if not lines:
        return PeerUnavailable(name=name, reason="it printed no answer")
    try:
        return parse(name, lines[-1])
    except (ValueError, KeyError, TypeError) as error:
        return PeerUnavailable(name=name, reason=f"its answer makes no sense ({error!r}): {lines[-1][:200]}")


def parse(name: str, answer: str) -> PeerResult:
    """Translate a runner's line; raises ValueError, KeyError or TypeError where it is not a result."""
    fields = json.loads(answer)
    seconds, tokens = float(fields["seconds"]), int(fields["output_tokens"])
    if seconds <= 0 or tokens <= 0:
        raise ValueError(f"{tokens} tokens in {seconds} s")
    first = fields.get("first_token_ms_p50")
    return PeerResult(
        name=name,
        version=str(fields["version"]),
        served=bool(fields["served"]),
        output_tokens=tokens,
        seconds=seconds,
        tokens_per_s=tokens / seconds,
        first_token_ms_p50=None if first is None else float(first),
        note=str(fields.get("note", "")),
    )
