"""The pool against engine processes' code over real sockets: served here where they behave, killed there where not."""

import asyncio
import contextlib
import itertools
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spillway.pool.contract import Refused, Ticket, Work
from spillway.pool.dispatcher import Recovered
from spillway.pool.engine_pool import EnginePool
from spillway.settings import LimitSettings
from spillway_engine.client.engine_client import EngineClient
from spillway_wire.outcomes import Outcome
from spillway_wire.page import Counter, PageReader, create_page
from spillway_wire.plane import EngineDied, EngineStatus, ExitCause, Member, Membership, ServedModel
from spillway_wire.sampling import SamplingParams


class Plane:
    """A supervisor's word, as a test says it."""

    def __init__(self, pool: EnginePool) -> None:
        self.pool = pool
        self.version = 0
        self.members: dict[str, Member] = {}

    def set(self, engine_id: str, incarnation: int, address: str, status: EngineStatus = EngineStatus.READY) -> None:
        self.members[engine_id] = Member(
            engine_id=engine_id, incarnation=incarnation, model="fake", address=address, status=status
        )
        self.publish()

    def publish(self) -> None:
        self.version += 1
        models = (ServedModel(name="fake", path=""),)
        self.pool.set_membership(Membership(version=self.version, members=tuple(self.members.values()), models=models))

    def died(self, engine_id: str, incarnation: int, aboard: tuple[tuple[str, str, int, int], ...] = ()) -> None:
        self.pool.engine_died(
            EngineDied(
                engine_id=engine_id,
                incarnation=incarnation,
                cause=ExitCause.SIGNAL,
                message="killed",
                aboard=aboard,
                detected_ns=0,
            )
        )
        self.members.pop(engine_id, None)
        self.publish()


@contextlib.asynccontextmanager
async def pool_of(**options: Any) -> AsyncIterator[tuple[EnginePool, Plane]]:
    """A pool that has to be empty in the end, with nothing of it left on the loop."""
    before = asyncio.all_tasks()
    pool = EnginePool("gw", limits=LimitSettings(), **options)
    try:
        yield pool, Plane(pool)
        pool.check_integrity()
        assert pool.num_open == 0
    finally:
        await pool.close()
        await pool.close()
    assert asyncio.all_tasks() <= before


def work(name: str, prompt: list[int], max_tokens: int | None, num_choices: int = 1) -> Work:
    params = SamplingParams(max_tokens=max_tokens)
    return Work(request_id=name, model="fake", prompt_token_ids=prompt, params=params, num_choices=num_choices)


async def read(ticket: Ticket) -> dict[int, list[int]]:
    tokens: dict[int, list[int]] = {}
    async for piece in ticket:
        tokens.setdefault(piece.choice, []).extend(piece.token_ids)
    return tokens


def test_streams_every_choice_of_every_request(fake_engine: ModuleType, serving: ModuleType, tmp_path: Path) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine, pool_of() as (pool, plane):
            plane.set("engine-0", 3, engine.address)
            answers = await asyncio.gather(
                *(read(pool.submit(work(f"r{n}", [n], 30, num_choices=2))) for n in range(1, 41))
            )
            for n, answer in enumerate(answers, 1):
                assert answer == {choice: fake_engine.expected([n], 30, choice) for choice in (0, 1)}

    serving.run(test)


def test_one_choice_ends_in_the_engine_and_its_sibling_goes_on(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine, pool_of() as (pool, plane):
            plane.set("engine-0", 3, engine.address)
            ticket = pool.submit(work("r", [1], None, num_choices=2))
            await anext(ticket)
            ticket.end_choice(0)
            while {sequence.choice for sequence in engine.core.sequences} != {1}:
                assert (await anext(ticket)).choice == 1
            ticket.abort()

    serving.run(test)


def test_requests_wait_for_an_address_that_does_not_listen_yet(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with pool_of() as (pool, plane):
            plane.set("engine-0", 3, f"unix:{tmp_path / 'engine.sock'}")
            early = asyncio.create_task(read(pool.submit(work("early", [1], 5))))
            async with serving.served(fake_engine, tmp_path):
                assert await early == {0: fake_engine.expected([1], 5)}
                state = pool.model_state("fake")
                assert state is not None
                assert (state.num_ready, state.max_model_len, state.exactness) == (1, 129, "exact"), "by its cache"

    serving.run(test)


def test_an_idle_engines_load_is_known_without_a_request(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine, pool_of() as (pool, plane):
            other = await EngineClient.connect(engine.address)
            generation = other.submit([1], SamplingParams())
            await anext(generation)
            plane.set("engine-0", 3, engine.address)
            while not (engines := pool.snapshot().engines) or engines[0].load is None or not engines[0].load.running:
                await anext(generation)
            assert engines[0].credits > 0
            await other.close()

    serving.run(test)


def test_a_reader_that_lags_gets_several_steps_in_one_piece(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine, pool_of() as (pool, plane):
            plane.set("engine-0", 3, engine.address)
            lagging = pool.submit(work("lagging", [1], 50))
            assert await read(pool.submit(work("other", [2], 60))) == {0: fake_engine.expected([2], 60)}
            pieces = [piece async for piece in lagging]
            assert len(pieces) < 10
            assert [token for piece in pieces for token in piece.token_ids] == fake_engine.expected([1], 50)
            assert pieces[-1].finish is not None

    serving.run(test)


def test_giving_up_aborts_in_the_engine(fake_engine: ModuleType, serving: ModuleType, tmp_path: Path) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine, pool_of() as (pool, plane):
            plane.set("engine-0", 3, engine.address)
            ticket = pool.submit(work("endless", [1], None))
            await anext(ticket)
            assert engine.core.sequences
            ticket.abort()
            ticket.abort()
            with pytest.raises(Refused) as refused:
                await anext(ticket)
            assert refused.value.outcome is Outcome.CLIENT_GONE
            assert pool.num_open == 0
            await read(pool.submit(work("next", [2], 2)))
            assert engine.count(Counter.REQUESTS_ABORTED) == 1
            assert not engine.core.sequences

    serving.run(test)


def test_what_the_engine_refuses_ends_with_its_outcome(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine, pool_of() as (pool, plane):
            plane.set("engine-0", 3, engine.address)
            with pytest.raises(Refused, match="prompt_token_ids is empty") as refused:
                await read(pool.submit(work("empty", [], 2)))
            assert refused.value.outcome is Outcome.INVALID

    serving.run(test)


@pytest.mark.parametrize("fault", ["drop_output", "corrupt_output"])
def test_a_lost_frame_is_a_new_attempt_on_a_new_connection(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path, fault: str
) -> None:
    async def test() -> None:
        recovered: list[Recovered] = []
        async with (
            serving.served(fake_engine, tmp_path, chaos=True) as engine,
            await EngineClient.connect(engine.address) as operator,
            pool_of(on_recovery=recovered.append) as (pool, plane),
        ):
            plane.set("engine-0", 3, engine.address)
            ticket = pool.submit(work("x", [5], 40))
            await anext(ticket)
            assert (await operator.inject(fault)).armed
            rest = await read(ticket)
            assert rest[0] == fake_engine.expected([5], 40)[-len(rest[0]) :]
            assert [event.request_id for event in recovered] == ["x"]
            assert ticket.engine_ids == ("engine-0", "engine-0")

    serving.run(test)


def test_a_stopped_engine_hands_its_requests_to_another(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        async with (
            serving.served(fake_engine, tmp_path / "two") as second,
            serving.served(fake_engine, tmp_path / "one") as first,
            pool_of() as (pool, plane),
        ):
            plane.set("engine-0", 3, first.address)
            ticket = pool.submit(work("x", [5], 1500))
            before = await anext(ticket)
            plane.set("engine-1", 3, second.address)
            operator = await EngineClient.connect(first.address)
            await operator.stop()
            await operator.close()
            assert await first.task == 0
            rest = await read(ticket)
            assert [*before.token_ids, *rest[0]] == fake_engine.expected([5], 1500)
            assert ticket.engine_ids == ("engine-0", "engine-1")
            del plane.members["engine-0"]
            plane.publish()

    serving.run(test)


def test_a_draining_engine_finishes_what_it_has_and_turns_the_rest_away(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine, pool_of() as (pool, plane):
            plane.set("engine-0", 3, engine.address)
            known = pool.submit(work("known", [1], 1500))
            await anext(known)
            operator = await EngineClient.connect(engine.address)
            drained = asyncio.create_task(operator.drain())
            while engine.page.state.name != "DRAINING":
                await anext(known)
            late = pool.submit(work("late", [2], 3))  # membership does not say it yet; the engine does
            await read(known)
            assert "drained" in await drained
            await operator.close()
            assert await engine.task == 0
            plane.died("engine-0", 3)
            assert pool.snapshot().num_queued == 1
            async with serving.served(fake_engine, tmp_path) as successor:
                plane.set("engine-0", 4, successor.address)
                assert await read(late) == {0: fake_engine.expected([2], 3)}
                assert late.engine_ids == ("engine-0", "engine-0")

    serving.run(test)


class Child:
    """An engine process without a model, that can be killed."""

    def __init__(self, process: asyncio.subprocess.Process, address: str, page: Path) -> None:
        self.process, self.address, self.page = process, address, page

    @classmethod
    async def start(cls, command: tuple[str, ...], folder: Path, name: str) -> "Child":
        page = folder / f"{name}.page"
        create_page(page)
        address = f"unix:{folder / name}.sock"
        process = await asyncio.create_subprocess_exec(
            *command, "--model", "fake", "--address", address, "--page", str(page), "--parent-pid", str(os.getpid()),
            "--chaos",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdout is not None
        assert (await process.stdout.readline()).startswith(b"ready")
        return cls(process, address, page)

    async def kill(self) -> tuple[tuple[str, str, int, int], ...]:
        """SIGKILL; return who was aboard the running step, as a supervisor reads it."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        with contextlib.closing(PageReader(self.page)) as reader:
            progress = reader.read()
        return () if progress is None or progress.started_ns is None else progress.aboard


@contextlib.asynccontextmanager
async def killing(children: dict[str, Child]) -> AsyncIterator[None]:
    """Leaves none of them behind."""
    try:
        yield
    finally:
        for child in children.values():
            await child.kill()


def test_engines_killed_at_random_moments_cost_no_token(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path, fake_engine_command: tuple[str, ...]
) -> None:
    """Sixteen streams go on while their engines die under them, one after another, until a new one comes too late."""
    random_source = random.Random()
    num_tokens, num_kills = 300, 4
    names = ("engine-0", "engine-1")

    async def test() -> None:
        recovered: list[Recovered] = []
        children: dict[str, Child] = {}
        num_read, moment = 0, float("inf")
        reached = asyncio.Event()

        async def read_counting(ticket: Ticket) -> dict[int, list[int]]:
            nonlocal num_read
            tokens: dict[int, list[int]] = {}
            async for piece in ticket:
                num_read += len(piece.token_ids)
                if num_read >= moment:
                    reached.set()
                tokens.setdefault(piece.choice, []).extend(piece.token_ids)
            return tokens

        async with killing(children), pool_of(on_recovery=recovered.append) as (pool, plane):

            async def start(name: str, incarnation: int) -> None:
                child = await Child.start(fake_engine_command, tmp_path, f"{name}.{incarnation}")
                children[name] = child
                async with await EngineClient.connect(child.address) as operator:
                    await operator.inject("slow_step", value=0.004, num_steps=100_000)
                plane.set(name, incarnation, child.address)

            await asyncio.gather(*(start(name, 0) for name in names))
            tickets = [pool.submit(work(f"r{n}", [n], num_tokens, num_choices=1 + n % 2)) for n in range(1, 17)]
            readers = [asyncio.create_task(read_counting(ticket)) for ticket in tickets]
            finished = asyncio.gather(*readers)
            num_killed = 0
            for number in range(num_kills):
                share = random_source.random() / (num_kills + 1 - number)
                moment = num_read + (24 * num_tokens - num_read) * share
                reached.clear()
                reaching = asyncio.ensure_future(reached.wait())
                await asyncio.wait((reaching, finished), return_when=asyncio.FIRST_COMPLETED)
                reaching.cancel()
                if finished.done():
                    break
                num_killed += 1
                name = names[number % 2]
                incarnation = plane.members[name].incarnation
                aboard = await children.pop(name).kill()
                plane.died(name, incarnation, aboard)
                await start(name, incarnation + 1)
            for n, answer in enumerate(await finished, 1):
                assert answer == {
                    choice: fake_engine.expected([n], num_tokens, choice) for choice in range(1 + n % 2)
                }, f"r{n}"
        assert num_killed >= 1
        assert len(recovered) >= num_killed, "the engines were killed when all was over"
        assert max(event.paused_s for event in recovered) < 1.0

    serving.run(test)


def test_a_cancelled_wait_for_the_next_piece_loses_none(
    fake_engine: ModuleType, serving: ModuleType, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serving.served(fake_engine, tmp_path) as engine, pool_of() as (pool, plane):
            plane.publish()
            ticket = pool.submit(work("x", [1], 40))
            waiting = asyncio.ensure_future(anext(ticket))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="has one reader"):
                await anext(ticket)
            plane.set("engine-0", 3, engine.address)
            tokens: list[int] = []
            for number in itertools.count():
                waiting.cancel()  # before it waits, while it waits, or when its piece is there but not taken
                try:
                    tokens += (await waiting).token_ids
                except StopAsyncIteration:
                    break
                except asyncio.CancelledError:
                    pass
                waiting = asyncio.ensure_future(anext(ticket))
                for _ in range(number % 4):
                    await asyncio.sleep(0)
            assert tokens == fake_engine.expected([1], 40)

    serving.run(test)
