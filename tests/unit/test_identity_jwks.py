"""The issuer's keys: what is taken of a set, that the last one stays, and that nobody waits long or alone."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from spillway.admission.identity import jwks
from spillway.admission.identity.jwks import JwksError, JwksSource, KeySet, parse, reader

KEY: dict[str, Any] = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key()))


def content(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_only_public_keys_for_signatures_are_taken() -> None:
    found = parse(
        content(
            KEY | {"kid": "good"},
            KEY | {"kid": "encrypts", "use": "enc"},
            {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
            {"kty": "new", "kid": "unknown"},
            {"kty": "EC", "kid": "broken", "crv": "P-256", "x": "!", "y": 5},
            KEY | {"kid": 7},
            KEY | {"kid": "odd", "alg": ["ES256"]},
        )
    )

    assert [key.kid for key in found.keys] == ["good"]
    assert found.find("good", "ES256") is not None
    assert found.find("good", "RS256") is None


@pytest.mark.parametrize("wrong", [b"", b"[]", b'{"keys": 1}', b"\xff", content(), content({"kty": "oct", "k": "eA"})])
def test_what_is_no_set_of_keys_is_told(wrong: bytes) -> None:
    with pytest.raises(JwksError, match=r"it is no key set|it holds no key"):
        parse(wrong)


class Place:
    """Where keys are read; it answers as the test says."""

    def __init__(self) -> None:
        self.answer: bytes | Exception = content(KEY | {"kid": "one"})
        self.asked = 0
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.now = 0.0
        self.log: list[str] = []
        self.source = JwksSource(
            self.fetch, 300.0, clock=lambda: self.now, log=lambda event, **_: self.log.append(event)
        )

    async def fetch(self) -> bytes:
        self.asked += 1
        self.begun.set()
        await self.open.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    "trouble", [OSError("gone"), httpx.ConnectError("refused"), TimeoutError(), JwksError("404"), b"{", b"<html>"]
)
def test_the_last_keys_stay_while_they_cannot_be_read(trouble: bytes | Exception) -> None:
    async def run() -> None:
        place = Place()
        await place.source.refresh()
        before = place.source.keys
        place.answer = trouble
        await place.source.refresh()
        await place.source.refresh()
        assert place.source.keys is before
        assert place.source.facts() == {"jwks_keys": 1.0, "jwks_away": 1.0}
        place.answer = content(KEY | {"kid": "two"})
        await place.source.refresh()
        assert [key.kid for key in place.source.keys.keys] == ["two"]
        assert place.log == ["jwks_away", "jwks_back"], "each change is told once"

    asyncio.run(run())


def may_help(source: JwksSource) -> bool:
    """Asked anew each time, also in the eyes of a type checker."""
    return source.may_help


def test_all_who_wait_wait_for_one_reading_and_who_leaves_does_not_end_it() -> None:
    async def run() -> None:
        place = Place()
        place.open.clear()
        waiting = [asyncio.create_task(place.source.refresh()) for _ in range(5)]
        await place.begun.wait()
        assert may_help(place.source)
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        place.open.set()
        await asyncio.gather(*waiting[1:])
        assert place.asked == 1
        assert len(place.source.keys.keys) == 1
        assert not may_help(place.source), "it was read just now"
        place.now = 10.0
        assert may_help(place.source)

    asyncio.run(run())


def test_a_reading_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "TIMEOUT_S", 0.0)

    async def run() -> None:
        place = Place()
        place.open.clear()
        await place.source.refresh()
        assert place.source.keys == KeySet()
        assert place.log == ["jwks_away"]
        await place.source.close()

    asyncio.run(run())


def test_keys_are_read_again_and_again_and_the_end_waits_for_a_reading() -> None:
    async def run() -> None:
        place = Place()
        slept: list[float] = []
        turn = asyncio.Event()

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            await turn.wait()
            turn.clear()

        place.source = JwksSource(place.fetch, 5.0, clock=lambda: 0.0, log=print, sleep=sleep)
        task = asyncio.create_task(place.source.run())
        place.open.clear()
        turn.set()
        await place.begun.wait()
        assert slept == [5.0]
        closing = asyncio.create_task(place.source.close())
        await asyncio.sleep(0)
        assert not closing.done()
        place.open.set()
        await closing
        assert len(place.source.keys.keys) == 1
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(run())


def test_a_file_is_read_each_time_anew(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    fetch, every_s = reader(str(file))
    assert every_s == 5.0

    async def run() -> None:
        file.write_bytes(content(KEY))
        assert await fetch() == content(KEY)
        file.unlink()
        with pytest.raises(FileNotFoundError):
            await fetch()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, content(KEY), None),
        (503, b"", "the answer is 503"),
        (302, b"", "the answer is 302"),
        (200, b"x" * (2**20 + 1), "it is larger than 1048576 bytes"),
    ],
)
def test_a_url_is_read_without_redirects_and_up_to_a_bound(
    status: int, body: bytes, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "https://issuer/keys"
        return httpx.Response(status, content=body, headers={"location": "https://evil/keys"})

    real = httpx.AsyncClient
    monkeypatch.setattr(httpx, "AsyncClient", lambda **more: real(transport=httpx.MockTransport(answer), **more))
    fetch, every_s = reader("https://issuer/keys")
    assert every_s == 300.0

    async def read() -> bytes:
        return await fetch()

    if told is None:
        assert asyncio.run(read()) == body
    else:
        with pytest.raises(JwksError, match=told):
            asyncio.run(read())
