"""From bytes to a request, within bounds: size, depth, encoding, fields. Whatever is wrong is said, and where."""

import asyncio
import re
from collections.abc import Iterable
from typing import Any, Final, Generic, TypeVar

import msgspec

from spillway.gateway.problems import Problem, invalid
from spillway.gateway.schema import unsupported_fields
from spillway_wire.outcomes import Outcome

T = TypeVar("T", bound=msgspec.Struct)

_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")

_AT: Final = re.compile(r" - at (?:`key` in )?`\$(?P<path>.*)`$")
_UNKNOWN: Final = re.compile(r"^Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"^Object missing required field `(?P<name>.*)`")
_JSON_NAMES: Final = (("`int`", "an integer"), ("`float`", "a number"), ("`str`", "a string"), ("`bool`", "a boolean"))


async def read_body(
    receive: Any, headers: Iterable[tuple[bytes, bytes]], *, max_bytes: int, patience_s: float
) -> bytes | None:
    """Return the whole body, or None if the client left before it was whole.

    Raises `Problem`: `too_large` as soon as that is known, `slow_reader` for a client that does not get on with it.
    """
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value[:20]) > max_bytes:
            raise _too_large(int(value[:20]), max_bytes)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(patience_s):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > max_bytes:
                    raise _too_large(size, max_bytes)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks) if len(chunks) > 1 else bytes(chunk)
    except TimeoutError:
        raise Problem(
            Outcome.SLOW_READER,
            f"the request's body was not complete after {patience_s:g} s",
            limit=f"slow_reader_s={patience_s:g}",
            measured=f"{size} bytes",
        ) from None


def _too_large(size: int, max_bytes: int) -> Problem:
    return Problem(
        Outcome.TOO_LARGE,
        f"the request's body is larger than {max_bytes} bytes",
        code="request_too_large",
        status=413,
        limit=f"max_body_bytes={max_bytes}",
        measured=str(size),
    )


class Reader(Generic[T]):
    """Decodes the body of one kind of request."""

    def __init__(self, kind: type[T], *, max_depth: int) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._unsupported = unsupported_fields(kind)
        self._max_depth = max_depth

    def __call__(self, body: bytes) -> T:
        """Return the request. Raises `Problem`, always `invalid`, that names the field."""
        check_depth(body, self._max_depth)
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise self._problem(str(error)) from None
        except msgspec.DecodeError as error:
            raise invalid(f"the body is not JSON: {error}") from None
        except UnicodeDecodeError as error:
            raise invalid(f"the body is not UTF-8: {error.reason}") from None
        except RecursionError:
            raise _too_deep(self._max_depth) from None

    def _problem(self, text: str) -> Problem:
        """Translate what msgspec says, such as "Expected `int` <= 10, got … - at `$.n`"."""
        at = _AT.search(text)
        path = at["path"].lstrip(".") if at is not None else ""
        said = text[: at.start()] if at is not None else text
        unknown = _UNKNOWN.match(said)
        if unknown is not None:
            name = f"{path}.{unknown['name']}" if path else unknown["name"]
            return invalid(
                f"Unrecognized request argument supplied: {name[:200]}", name[:200], code="unknown_parameter"
            )
        missing = _MISSING.match(said)
        if missing is not None:
            name = f"{path}.{missing['name']}" if path else missing["name"]
            return invalid(f"Missing required parameter: '{name}'", name, code="missing_required_parameter")
        if path in self._unsupported:
            return invalid(f"'{path}' is not supported by this server", path, code="unsupported_parameter")
        for ours, json in _JSON_NAMES:
            said = said.replace(ours, json)
        said = said[:1].lower() + said[1:]
        if not path:
            return invalid(f"the body is not a request: {said}")
        hint = _HINTS.get(re.sub(r"\[.*?\]", "[]", path), "")
        return invalid(f"Invalid value for '{path}': {said.replace('`', '')}{hint}", path, code="invalid_value")


_HINTS: Final = {
    "messages[].content[].type": "; only text parts are supported",
    "response_format.type": "; only the response format 'text' is supported",
    "modalities[]": "; only text is produced",
    "messages[].tool_calls": "; tools are not supported by this server",
    "messages[].function_call": "; tools are not supported by this server",
}


def check_depth(body: bytes, max_depth: int) -> None:
    """Raise `Problem` if brackets nest deeper than `max_depth`; counting them is enough for almost every body.

    Otherwise innermost pairs are taken away, layer by layer, at the speed of `bytes.replace`: what is left after
    `max_depth` layers is deeper. Brackets that do not match are the decoder's affair.
    """
    if body.count(b"[") + body.count(b"{") <= max_depth:
        return
    brackets = _STRING.sub(b"", body).translate(_ONE_KIND, _NOT_BRACKETS)
    for _ in range(max_depth):
        fewer = brackets.replace(b"[]", b"")
        if len(fewer) == len(brackets):
            break
        brackets = fewer
    if b"[]" in brackets or brackets.count(b"[") > max_depth:
        raise _too_deep(max_depth)


def _too_deep(max_depth: int) -> Problem:
    return Problem(
        Outcome.INVALID, f"the body nests deeper than {max_depth} levels", limit=f"max_json_depth={max_depth}"
    )
