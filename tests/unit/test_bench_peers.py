"""The contract between the bench and a peer's runner, on runners of a few lines."""

import os
import sys
from pathlib import Path

import pytest

from spillway_engine.bench.peers import PEERS, Peer, PeerCase, PeerOutcome, PeerResult, PeerUnavailable, measure
from spillway_engine.bench.peers.environment import EnvironmentFailed, Recipe, ensure_environment

READ_CASE = "import json, os, sys; case = json.load(open(sys.argv[1])); "
ANSWER = {"version": "9", "served": True, "output_tokens": 20, "seconds": 4.0, "first_token_ms_p50": 7}


def case(**changes: object) -> PeerCase:
    fields = {"model_path": Path("/m"), "concurrency": 2, "prompts": [[1, 2], [3, 4]], "max_tokens": 5, "threads": 1}
    return PeerCase(**(fields | changes))  # type: ignore[arg-type] # each test replaces fields by ones of their type


def run(tmp_path: Path, source: str, timeout_s: float = 60.0) -> PeerOutcome:
    runner = tmp_path / "fake_runner.py"
    runner.write_text(source)
    peer = Peer(
        name="fake",
        about="a few lines",
        runner=runner,
        interpreter=lambda _: Path(sys.executable),
        options={"dtype": "float32"},
    )
    return measure(peer, case(), logs=tmp_path / "logs", timeout_s=timeout_s)


def reason(outcome: PeerOutcome) -> str:
    assert isinstance(outcome, PeerUnavailable)
    return outcome.reason


def test_an_answer_becomes_a_result_whatever_was_printed_before_it(tmp_path: Path) -> None:
    outcome = run(tmp_path, f"import json; print('loading {{'); print(json.dumps({ANSWER}))")
    assert outcome == PeerResult(
        name="fake",
        version="9",
        served=True,
        output_tokens=20,
        seconds=4.0,
        tokens_per_s=5.0,
        first_token_ms_p50=7.0,
    )


def test_the_runner_reads_the_whole_case_and_the_peers_options(tmp_path: Path) -> None:
    source = READ_CASE + (
        "case['omp'] = os.environ['OMP_NUM_THREADS'];"
        "print(json.dumps({'version': '1', 'served': False, 'output_tokens': 1, 'seconds': 1, 'note': str(case)}))"
    )
    outcome = run(tmp_path, source)
    assert isinstance(outcome, PeerResult)
    assert outcome.first_token_ms_p50 is None
    for part in ("'model_path': '/m'", "'prompts': [[1, 2], [3, 4]]", "'dtype': 'float32'", "'omp': '1'"):
        assert part in outcome.note


def test_a_crash_gives_its_status_and_last_words_and_leaves_a_log(tmp_path: Path) -> None:
    outcome = run(tmp_path, "raise RuntimeError('no such model')")
    assert reason(outcome) == "ended with status 1: RuntimeError: no such model"
    assert "Traceback" in (tmp_path / "logs" / "fake.log").read_text()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", "it printed no answer"),
        ("print('all went well')", "makes no sense"),
        ("print('[1, 2]')", "makes no sense"),
        ("print('{\"seconds\": 1}')", "makes no sense"),
        (f"import json; print(json.dumps({ANSWER | {'seconds': 0}}))", "20 tokens in 0.0 s"),
        (f"import json; print(json.dumps({ANSWER | {'output_tokens': 'many'}}))", "makes no sense"),
    ],
)
def test_garbage_is_a_reason_not_an_exception(tmp_path: Path, source: str, expected: str) -> None:
    assert expected in reason(run(tmp_path, source))


def test_a_runner_that_never_ends_is_stopped(tmp_path: Path) -> None:
    assert reason(run(tmp_path, "import signal; signal.pause()", timeout_s=0.2)) == "no answer within 0.2 s"


def test_what_a_runner_leaves_behind_neither_delays_its_answer_nor_outlives_it(tmp_path: Path) -> None:
    """The grandchild holds the runner's standard output open, and one end of a pipe that tells when it dies."""
    pipe = tmp_path / "alive"
    os.mkfifo(pipe)
    grandchild = f"import signal; held = open({str(pipe)!r}, 'w'); signal.pause()"
    source = (
        f"import json, subprocess, sys; subprocess.Popen([sys.executable, '-c', {grandchild!r}]);"
        f"open({str(pipe)!r}).close(); print(json.dumps({ANSWER}))"
    )
    watcher = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert isinstance(run(tmp_path, source), PeerResult)
        os.set_blocking(watcher, True)
        assert os.read(watcher, 1) == b""  # returns only when no writer is left
    finally:
        os.close(watcher)


def test_a_missing_interpreter_and_a_failed_installation_are_reasons(tmp_path: Path) -> None:
    def fails(_: Path) -> Path:
        raise EnvironmentFailed("no matching distribution")

    for interpreter, expected in (
        (fails, "not installed: no matching distribution"),
        (lambda _: tmp_path / "absent", "did not start"),
    ):
        peer = Peer(name="fake", about="", runner=tmp_path / "r.py", interpreter=interpreter)
        assert expected in reason(measure(peer, case(), logs=tmp_path))


def test_a_finished_environment_is_reused_until_its_lock_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, ...]] = []

    def call(*command: str) -> None:
        calls.append(command)
        (tmp_path / "toy").mkdir(exist_ok=True)

    monkeypatch.setattr("spillway_engine.bench.peers.environment._call", call)
    lock = tmp_path / "lock.txt"
    lock.write_text("toy==1\n")
    recipe = Recipe(name="toy", lock=lock)
    first = ensure_environment(recipe, tmp_path)
    assert (first, len(calls)) == (tmp_path / "toy" / "bin" / "python", 2)
    assert (ensure_environment(recipe, tmp_path), len(calls)) == (first, 2)
    lock.write_text("toy==2\n")
    ensure_environment(recipe, tmp_path)
    assert len(calls) == 4


@pytest.mark.parametrize("change", [{"concurrency": 0}, {"max_tokens": 0}, {"threads": 0}, {"concurrency": 3}])
def test_a_case_that_cannot_be_measured_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|in flight"):
        case(**change)


@pytest.mark.parametrize("peer", PEERS.values(), ids=lambda peer: peer.name)
def test_every_peer_has_a_runner_that_needs_nothing_of_this_package(peer: Peer) -> None:
    source = peer.runner.read_text()
    compile(source, peer.runner, "exec")
    assert "spillway" not in source
