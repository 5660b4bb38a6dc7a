"""A whole instance under test: the real supervisor in a process of its own, its children light (`fake_platform`)."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

HERE = Path(__file__).parent
PATIENCE_S = 15.0


class Instance:
    """Starts at once; `with` kills whatever is left at the end."""

    def __init__(
        self, settings: Mapping[str, Any], *, engine: tuple[str, ...] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "fake_platform.py"), json.dumps(settings), *engine],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.pid = self.process.pid
        self.events: list[dict[str, Any]] = []
        self.plain: list[str] = []
        """Lines on standard error that are no events."""
        self.may_read = threading.Event()
        """Cleared, nobody reads its log."""
        self.may_read.set()
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.api, self.ops = "", ""

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.may_read.wait()
            if not line.endswith("\n"):
                return  # it was killed in the middle of a line
            with self._changed:
                if line.startswith("{"):
                    self.events.append(json.loads(line))
                else:
                    self.plain.append(line.rstrip())
                self._changed.notify_all()

    # ---- what it does ----

    def ready(self) -> "Instance":
        """Wait for its ready line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.fullmatch(r"ready api=(http://\S+) ops=(http://\S+)\n", line)
        assert found is not None, (line, self.plain)
        self.api, self.ops = found.groups()
        return self

    def event(self, name: str, *, after: int = 0, **facts: Any) -> dict[str, Any]:
        """Wait for the first event of that name with these facts, from the `after`-th on."""
        with self._changed:
            deadline = time.monotonic() + PATIENCE_S
            while True:
                for event in self.events[after:]:
                    if event["event"] == name and facts.items() <= event.items():
                        return event
                left = deadline - time.monotonic()
                assert left > 0, (name, facts, self.events[after:])
                self._changed.wait(left)

    def ended(self) -> int:
        """Wait for its end and return its status."""
        status = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return status

    # ---- what is said to it ----

    @contextlib.contextmanager
    def connection(self, address: str) -> Iterator[Any]:
        """Yield what says a line to a child and returns its answer."""
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), PATIENCE_S) as link, link.makefile("rw") as stream:

            def say(line: str) -> Any:
                stream.write(line + "\n")
                stream.flush()
                answer = stream.readline()
                assert answer, f"closed at {line!r}"
                return json.loads(answer)

            yield say

    def ask(self, address: str, line: str) -> Any:
        """Say one line, on a connection of its own."""
        with self.connection(address) as say:
            return say(line)

    def status(self) -> Any:
        """What ops is told."""
        return self.ask(self.ops, "status")

    def order(self, kind: str, target: str = "-", **options: Any) -> Any:
        """Order something as ops does."""
        return self.ask(self.ops, f"order {kind} {target} {json.dumps(options)}")

    def engines(self) -> dict[str, Any]:
        """The status of the engines by their ids."""
        return {engine["id"]: engine for engine in self.status()["engines"]}

    def until(self, condition: Any) -> Any:
        """Ask until the status is so; for what rings no bell. Return it."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(status := self.status()):
            assert time.monotonic() < deadline, status
            time.sleep(0.02)
        return status

    def heard(self, line: str, condition: Any = bool) -> Any:
        """Ask the gateway until what it heard is so: the plane and the log are not in step. Return it."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(heard := self.ask(self.api, line)):
            assert time.monotonic() < deadline, heard
            time.sleep(0.01)
        return heard

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def family(self) -> list[psutil.Process]:
        """All its children."""
        return psutil.Process(self.pid).children(recursive=True)

    # ---- the end ----

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in self.family():
                child.kill()
        self.process.kill()
        self.ended()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def gone(processes: list[psutil.Process], within_s: float = PATIENCE_S) -> None:
    """Wait until all these have ended."""
    deadline = time.monotonic() + within_s
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            while process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                assert time.monotonic() < deadline, process
                time.sleep(0.01)


def is_free(address: str) -> bool:
    """Whether nobody listens there."""
    host, port = address.removeprefix("http://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0
