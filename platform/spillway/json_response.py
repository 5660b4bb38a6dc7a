"""JSON as an answer of Litestar: what handlers of the API and of ops return."""

from typing import Final

import msgspec
from litestar import MediaType
from litestar.response import Response

_encode: Final = msgspec.json.Encoder().encode


def json_response(value: object, status: int = 200) -> Response[bytes]:
    """Return `value` as JSON with that status."""
    return Response(_encode(value), status_code=status, media_type=MediaType.JSON)
