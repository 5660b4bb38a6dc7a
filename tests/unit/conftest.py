"""Fixtures of the unit tests."""

import asyncio
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def house(gateway_house: ModuleType) -> Any:
    """A gateway with a pool that answers as the test says."""
    return gateway_house.House()


@pytest.fixture
def ask(house: Any, asgi: ModuleType) -> Callable[..., Any]:
    """Serve one request and return the call."""

    def serve(path: str, body: object = None, **options: Any) -> Any:
        call: Coroutine[Any, Any, Any] = asgi.Call(house.app, path, body, **options).run()
        return asyncio.run(call)

    return serve
