"""A prompt on its way to a gateway, and the answer's way back, as it comes.

Ops passes both on, so that the page needs no other origin than its own. It holds nothing of them: a console that reads
slowly slows the gateway's stream, and one that leaves ends it.
"""

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import httpx
import msgspec

from spillway.gateway.problems import Problem
from spillway_wire.outcomes import Outcome

_MOST: Final = 16
_CONNECT_S: Final = 5.0
_PASSED_ON: Final = frozenset({"content-type", "x-request-id", "traceparent", "retry-after"})
_OWN_HEADERS: Final = "x-spillway-"


class Prompt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a console asks; the rest is as the gateway has it by default."""

    model: str
    prompt: str
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    service_tier: str | None = None

    def body(self) -> dict[str, Any]:
        """Return the body of a chat request that streams."""
        given = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        prompt = given.pop("prompt")
        return {
            **given,
            "messages": [{"role": "user", "content": prompt}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }


def read_prompt(body: bytes) -> Prompt:
    """Return what was asked. Raises `Problem`."""
    try:
        return msgspec.json.decode(body, type=Prompt)
    except (msgspec.MsgspecError, ValueError) as error:
        fields = ", ".join(Prompt.__struct_fields__)
        raise Problem(Outcome.INVALID, f"The body must be a JSON object with {fields}: {error}") from None


class Answer:
    """A gateway's answer that has begun. `chunks` gives its body and closes it."""

    def __init__(self, answer: httpx.Response, done: Callable[[], None]) -> None:
        self._answer, self._done = answer, done
        self.status = answer.status_code
        self.headers = {
            name: value for name, value in answer.headers.items() if name in _PASSED_ON or name.startswith(_OWN_HEADERS)
        }

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. A gateway that dies is told in the stream's own form."""
        try:
            async for chunk in self._answer.aiter_raw():
                yield chunk
        except httpx.HTTPError as error:
            said = {"error": {"message": f"The gateway went away: {_named(error)}.", "code": "gateway_gone"}}
            yield b"\n\ndata: " + msgspec.json.encode(said) + b"\n\n"
        finally:
            self._done()
            with contextlib.suppress(httpx.HTTPError, OSError):
                await self._answer.aclose()


class PromptRelay:
    """Passes prompts on to the API."""

    def __init__(self, *, certificate: str | None = None) -> None:
        """`certificate` is the one that gateways show, which is believed and no other."""
        self._verify: ssl.SSLContext | bool = True
        if certificate is not None:
            self._verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._verify.check_hostname = False  # it is made for the name that clients use
            self._verify.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            self._verify.load_verify_locations(certificate)
        self._http: httpx.AsyncClient | None = None
        self.num_open = 0

    async def ask(self, api: str, prompt: Prompt, headers: Mapping[str, str]) -> Answer:
        """Begin; `headers` are those of the caller that the gateway shall see. Raises `Problem`."""
        if self.num_open >= _MOST:
            raise Problem(
                Outcome.OVERLOADED,
                f"{_MOST} prompts of consoles are under way already, which is the most.",
                code="too_many_prompts",
            )
        if self._http is None:
            timeout = httpx.Timeout(None, connect=_CONNECT_S)  # the gateway ends what takes too long
            # trust_env=False: a proxy for the internet has no business between ops and its own gateways
            self._http = httpx.AsyncClient(timeout=timeout, trust_env=False, verify=self._verify)
        self.num_open += 1
        try:
            request = self._http.build_request(
                "POST", f"{api}/v1/chat/completions", json=prompt.body(), headers=dict(headers)
            )
            return Answer(await self._http.send(request, stream=True), self._closed)
        except BaseException as error:
            self._closed()
            if isinstance(error, httpx.HTTPError):
                raise Problem(
                    Outcome.NO_ENGINE, f"No gateway answers at {api}: {_named(error)}.", code="no_gateway"
                ) from None
            raise

    def _closed(self) -> None:
        self.num_open -= 1

    async def close(self) -> None:
        """Let go of all connections. Idempotent."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()


def _named(error: Exception) -> str:
    return str(error) or type(error).__name__
