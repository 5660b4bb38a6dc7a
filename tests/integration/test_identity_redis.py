"""The copy of tenants in a real Redis: two hosts and a command line, flushed, killed, stopped, and holding rubbish."""

import asyncio
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path

import pytest
from redis.asyncio import Redis

from spillway.admission.identity import keys
from spillway.admission.identity.identity import Identity
from spillway.admission.identity.mirror import KEY, MirrorAwayError, RedisMirror
from spillway.cli import Surroundings, main
from spillway.pool.contract import Refused
from spillway.settings import Settings
from spillway.supervisor.redis import find_server


class Server:
    """A redis-server on a socket of its own."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = find_server()
        assert program is not None
        words = [
            program,
            "--port",
            "0",
            "--unixsocket",
            str(self.socket),
            "--save",
            "",
            "--dir",
            str(self.socket.parent),
        ]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        while not self._answers():
            assert self.process.poll() is None

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as tried:
            return tried.connect_ex(str(self.socket)) == 0

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.socket.unlink(missing_ok=True)


@pytest.fixture
def redis() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="mirror-"))  # pytest's own are too long for a socket's path
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.end()
        shutil.rmtree(folder)


@asynccontextmanager
async def gateway(server: Server, folder: Path, log: list[str]) -> AsyncIterator[Identity]:
    """What a gateway of the host with that state folder knows."""
    client = Redis.from_url(server.url)
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    made = Identity(Settings(), folder, client, log=lambda event, **_: log.append(event))
    try:
        await made.start()
        yield made
    finally:
        await made.close()
        await client.aclose()


def spillway(folder: Path, *words: str) -> str:
    out, err = StringIO(), StringIO()
    around = Surroundings(environment={"SPILLWAY_STATE_DIR": str(folder)}, folder=folder.parent, out=out, err=err)
    assert main(["tenants", *words], around) == 0, err.getvalue()
    return out.getvalue().strip()


async def until(holds: Callable[[], bool]) -> float:
    """Wait for it; return how long it took."""
    began = time.monotonic()
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - other processes bring it about
            await asyncio.sleep(0.005)
    return time.monotonic() - began


def knows(who: Identity, text: str) -> bool:
    try:
        caller = who.identify_now(((b"x-api-key", text.encode()),))
    except Refused:
        return False
    return caller is not None and not caller.is_anonymous


def test_a_change_on_one_host_is_known_on_the_other_within_a_second_and_outlives_redis(
    redis: Server, tmp_path: Path
) -> None:
    here, there, log = tmp_path / "here", tmp_path / "there", list[str]()

    async def run() -> None:
        async with gateway(redis, here, log) as one, gateway(redis, there, log) as two:
            text = await asyncio.to_thread(spillway, here, "add", "acme")
            assert await until(lambda: knows(one, text) and knows(two, text)) < 1.0
            client = Redis.from_url(redis.url)
            await client.flushall()
            public = keys.public_id(text)
            assert public is not None
            await until(lambda: public in spillway(there, "list", "--json"))
            await asyncio.to_thread(spillway, there, "revoke", public)
            assert await until(lambda: not knows(one, text) and not knows(two, text)) < 1.0
            await client.flushall()
            redis.end()
            assert not knows(one, text)
            assert not knows(two, text)
            await client.aclose()
        for folder in (here, there):
            assert '"valid": false' in spillway(folder, "list", "--json")

    asyncio.run(run())


@pytest.mark.parametrize("trouble", ["killed", "stopped"])
def test_the_last_copy_counts_and_the_store_is_followed_while_redis_is_away(
    redis: Server, tmp_path: Path, trouble: str
) -> None:
    log: list[str] = []

    async def run() -> None:
        async with gateway(redis, tmp_path / "here", log) as who:
            first = await asyncio.to_thread(spillway, tmp_path / "here", "add", "acme")
            await until(lambda: knows(who, first))
            if trouble == "killed":
                redis.end()
            else:
                redis.send(signal.SIGSTOP)
            await until(lambda: "tenants_mirror_away" in log)
            second = await asyncio.to_thread(spillway, tmp_path / "here", "key", "acme")
            assert await until(lambda: knows(who, second)) < 1.0
            assert knows(who, first)
            if trouble == "killed":
                redis.start()
            else:
                redis.send(signal.SIGCONT)
            await until(lambda: "tenants_mirror_back" in log)
            client = Redis.from_url(redis.url)
            mirror = RedisMirror(client)
            async with asyncio.timeout(10):
                while (found := await mirror.read()) is None or len(found.keys) < 2:  # noqa: ASYNC110 - Redis tells nobody
                    await asyncio.sleep(0.005)
            await client.aclose()

    asyncio.run(run())


def test_rubbish_in_redis_is_written_over(redis: Server, tmp_path: Path) -> None:
    async def run() -> None:
        client = Redis.from_url(redis.url)
        spillway(tmp_path / "here", "add", "acme")
        await client.hset(KEY, mapping={"digest": b"\xff", "snapshot": b"\xff{"})
        async with gateway(redis, tmp_path / "here", []) as who:
            found = await RedisMirror(client).read()
            assert found is not None
            assert set(found.tenants) == set(who.directory.tenants) == {"acme"}
        await client.delete(KEY)
        await client.set(KEY, "no hash")
        with pytest.raises(MirrorAwayError, match="WRONGTYPE"):
            await RedisMirror(client).digest()
        await client.aclose()

    asyncio.run(run())


def test_the_command_line_tells_other_hosts_itself_where_a_redis_is_shared(redis: Server, tmp_path: Path) -> None:
    (tmp_path / "spillway.toml").write_text(f"redis = '{redis.url}'")
    here, there = tmp_path / "here", tmp_path / "there"

    text = spillway(here, "add", "acme")
    public = keys.public_id(text)
    assert public is not None
    spillway(there, "revoke", public)
    spillway(here, "add", "globex")

    assert '"revoked_at": null' not in spillway(here, "list", "--json").split('"globex"')[0]
    redis.end()
    out, err = StringIO(), StringIO()
    around = Surroundings(environment={"SPILLWAY_STATE_DIR": str(here)}, folder=tmp_path, out=out, err=err)
    assert main(["tenants", "limit", "acme", "--rpm", "5"], around) == 0
    assert err.getvalue() == "spillway: Redis does not answer; other hosts will know when it does\n"
