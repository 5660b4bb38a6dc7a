"""The issuer's public keys (JWKS, RFC 7517), from a file or an https URL; kept, and read again while requests go on.

::

    background      a URL every 5 min, a file every 5 s      an issuer that changes its keys announces them before
    unknown kid     at once, but once each 10 s at most      for one that does not
    unreachable     the last keys stay

All who wait, wait for the same reading, and for 2 s at most. Nothing here decides whom to believe.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import jwt
import msgspec

TIMEOUT_S: Final = 2.0
COOL_DOWN_S: Final = 10.0
_EVERY_URL_S: Final = 300.0
_EVERY_FILE_S: Final = 5.0
_MOST_BYTES: Final = 2**20

Fetch = Callable[[], Awaitable[bytes]]


class JwksError(Exception):
    """What was read is no set of keys, or nothing could be read."""


class _Set(msgspec.Struct):
    keys: list[dict[str, Any]]


_KINDS: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
"""The kind of key that an algorithm takes, by how its name begins."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One of the issuer's keys."""

    kid: str | None
    kind: str
    """Its `kty`."""
    algorithm: str | None
    """The only one it is meant for; None: any that fits it."""
    material: Any
    """What PyJWT verifies with."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """All of them."""

    keys: tuple[PublicKey, ...] = ()
    content: bytes = field(default=b"", repr=False)

    def find(self, kid: str | None, algorithm: str) -> PublicKey | None:
        """Return the key that a token names; where it names none, the only one there is for its algorithm."""
        kind = _KINDS.get(algorithm[:2])
        fitting = [key for key in self.keys if key.kind == kind and key.algorithm in {None, algorithm}]
        if kid is not None:
            fitting = [key for key in fitting if key.kid == kid]
        return fitting[0] if len(fitting) == 1 else None


def parse(content: bytes) -> KeySet:
    """Read a key set; keys for encryption, symmetric ones and those of unknown kinds are left out. Raises JwksError."""
    try:
        found = msgspec.json.decode(content, type=_Set)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise JwksError(f"it is no key set: {error}") from None
    keys = []
    for each in found.keys:
        names = (each.get("kid"), each.get("alg"))
        if each.get("kty") == "oct" or each.get("use", "sig") != "sig" or not all(map(_is_name, names)):
            continue
        with contextlib.suppress(jwt.PyJWTError, ValueError, TypeError, KeyError):
            keys.append(PublicKey(each.get("kid"), each["kty"], each.get("alg"), jwt.PyJWK(dict(each)).key))
    if not keys:
        raise JwksError("it holds no key that can verify a signature")
    return KeySet(tuple(keys), content)


def _is_name(value: object) -> bool:
    return value is None or isinstance(value, str)


def reader(place: str) -> tuple[Fetch, float]:
    """Return what reads a file or an https URL, and every how many seconds it should."""
    if place.startswith("https://"):
        return _FromUrl(place), _EVERY_URL_S

    async def read_file() -> bytes:
        return await asyncio.to_thread(Path(place).read_bytes)

    return read_file, _EVERY_FILE_S


class _FromUrl:
    """Reads a URL; redirects are not followed: the keys must come from where the operator said."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __call__(self) -> bytes:
        # Made for each reading, in a thread: it reads the system's certificates, and readings are rare.
        client = await asyncio.to_thread(httpx.AsyncClient, timeout=TIMEOUT_S)
        async with client, client.stream("GET", self._url) as answer:
            if answer.status_code != httpx.codes.OK:
                raise JwksError(f"the answer is {answer.status_code}")
            content = b""
            async for part in answer.aiter_bytes():
                content += part
                if len(content) > _MOST_BYTES:
                    raise JwksError(f"it is larger than {_MOST_BYTES} bytes")
            return content


class JwksSource:
    """Keeps the issuer's keys. `refresh` them once, `run` it as a task, and `close` it."""

    def __init__(
        self,
        fetch: Fetch,
        every_s: float,
        *,
        clock: Callable[[], float],
        log: Callable[..., None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`clock`: monotonic seconds."""
        self._fetch, self._every_s, self._clock, self._log, self._sleep = fetch, every_s, clock, log, sleep
        self._reading: asyncio.Task[None] | None = None
        self._read_at: float | None = None
        self._is_away = False
        self.keys = KeySet()

    @property
    def may_help(self) -> bool:
        """Whether a key that is not there may be found by waiting for `refresh`."""
        if self._reading is not None:
            return True
        return self._read_at is None or self._clock() - self._read_at >= COOL_DOWN_S

    async def refresh(self) -> None:
        """Read the keys, or wait for who reads them already. The last ones stay if they cannot be read."""
        if self._reading is None:
            self._read_at = self._clock()
            self._reading = asyncio.get_running_loop().create_task(self._read(), name="read the issuer's keys")
        await asyncio.shield(self._reading)  # who leaves does not end it for the others

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                content = await self._fetch()
            if content != self.keys.content:
                self.keys = parse(content)
        except Exception as error:  # noqa: BLE001 - whatever is wrong over there, the last keys stay
            if not self._is_away:
                self._log("jwks_away", error=f"{type(error).__name__}: {error}", keys=len(self.keys.keys))
            self._is_away = True
        else:
            if self._is_away:
                self._log("jwks_back", keys=len(self.keys.keys))
            self._is_away = False
        finally:
            self._reading = None

    async def run(self) -> None:
        """Read them again and again, for ever."""
        while True:
            await self._sleep(self._every_s)
            await self.refresh()

    def facts(self) -> Mapping[str, float]:
        """Return gauges by stable names."""
        return {"jwks_keys": float(len(self.keys.keys)), "jwks_away": float(self._is_away)}

    async def close(self) -> None:
        """Wait for a reading that goes on: requests may wait for it, too, and it takes 2 s at most."""
        if self._reading is not None:
            await asyncio.shield(self._reading)
