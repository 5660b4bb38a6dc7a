"""Profiles: of whom, for how long, one at a time, and what is said when the kernel forbids it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from spillway.gateway.problems import Problem
from spillway.ops.profile import Ended, Form, Profiler, find_child, read_request

STATUS: dict[str, Any] = {
    "engines": [{"id": "engine-0", "pid": 11, "incarnation": 2}, {"id": "engine-1", "pid": None, "state": "backoff"}],
    "gateways": [{"id": "gateway-0", "pid": 12, "incarnation": 1}],
}


def writing(text: str) -> Callable[[list[str], float], Awaitable[Ended]]:
    async def run(command: list[str], _: float) -> Ended:
        await asyncio.to_thread(Path(command[command.index("--output") + 1]).write_text, text)
        return Ended(0, "")

    return run


def saying(status: int, said: str) -> Callable[[list[str], float], Awaitable[Ended]]:
    async def run(_: list[str], __: float) -> Ended:
        return Ended(status, said)

    return run


def take(profiler: Profiler, child: str = "engine-0", form: Form = Form.SPEEDSCOPE) -> Any:
    return asyncio.run(profiler.take(STATUS, child, 1.0, form))


@pytest.mark.parametrize(
    ("form", "name", "content_type"),
    [
        (Form.SPEEDSCOPE, "engine-0-2.speedscope.json", "application/json"),
        (Form.FLAMEGRAPH, "engine-0-2.svg", "image/svg+xml"),
        (Form.RAW, "engine-0-2.txt", "text/plain; charset=utf-8"),
    ],
)
def test_it_is_a_file_named_after_its_subject(form: Form, name: str, content_type: str) -> None:
    taken = take(Profiler("py-spy", run=writing("stacks")), form=form)

    assert (taken.name, taken.content_type, taken.body) == (name, content_type, b"stacks")


def test_py_spy_is_told_whom_to_look_at_and_does_not_stop_it() -> None:
    seen: list[str] = []

    async def run(command: list[str], _: float) -> Ended:
        seen.extend(command)
        return await writing("x")(command, 0.0)

    take(Profiler("/bin/py-spy", run=run), "gateway-0")

    assert seen[:5] == ["/bin/py-spy", "record", "--pid", "12", "--duration"]
    assert "--nonblocking" in seen


def test_a_kernel_that_forbids_it_is_told_with_what_to_do() -> None:
    said = "Error: Permission Denied: Try running again with elevated permissions by going 'sudo env …'"
    with pytest.raises(Problem, match=r"ptrace_scope=0.*--cap-add SYS_PTRACE") as refused:
        take(Profiler("py-spy", run=saying(1, said)))

    assert (refused.value.status, refused.value.code) == (403, "ptrace_forbidden")


@pytest.mark.parametrize(("status", "said"), [(1, "Error: no python"), (0, "")], ids=("failed", "wrote_nothing"))
def test_any_other_failure_is_told_in_its_words(status: int, said: str) -> None:
    with pytest.raises(Problem, match=f"ended with {status} and said: {said or 'nothing'}"):
        take(Profiler("py-spy", run=saying(status, said)))


def test_one_at_a_time_and_a_failure_does_not_block_the_next() -> None:
    async def test() -> None:
        begun, go = asyncio.Event(), asyncio.Event()

        async def run(_: list[str], __: float) -> Ended:
            begun.set()
            await go.wait()
            return Ended(1, "broken")

        profiler = Profiler("py-spy", run=run)
        first = asyncio.ensure_future(profiler.take(STATUS, "engine-0", 1.0, Form.RAW))
        await begun.wait()
        with pytest.raises(Problem, match="one at a time") as refused:
            await profiler.take(STATUS, "gateway-0", 1.0, Form.RAW)
        assert refused.value.status == 409
        go.set()
        with pytest.raises(Problem, match="broken"):
            await first
        with pytest.raises(Problem, match="broken"):
            await profiler.take(STATUS, "gateway-0", 1.0, Form.RAW)

    asyncio.run(test())


def test_who_is_not_there_cannot_be_profiled() -> None:
    with pytest.raises(Problem, match="there are: engine-0, engine-1, gateway-0") as unknown:
        find_child(STATUS, "redis")
    assert unknown.value.status == 404
    with pytest.raises(Problem, match="no process now: it is backoff") as gone:
        find_child(STATUS, "engine-1")
    assert gone.value.status == 409


@pytest.mark.parametrize(
    "query", [{"seconds": "0"}, {"seconds": "61"}, {"seconds": "nan"}, {"seconds": "x"}, {"format": "pdf"}]
)
def test_wrong_requests_are_refused(query: dict[str, str]) -> None:
    with pytest.raises(Problem) as wrong:
        read_request(query)
    assert wrong.value.status == 400


def test_five_seconds_for_speedscope_unless_asked_otherwise() -> None:
    assert read_request({}) == (5.0, Form.SPEEDSCOPE)
    assert read_request({"seconds": "60", "format": "raw"}) == (60.0, Form.RAW)
