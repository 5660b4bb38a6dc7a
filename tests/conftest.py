"""How tests are spread over processes: all that share one running Spillway go to the same one.

pytest-xdist's own `xdist_group` marks do nothing with pytest 9.2 and xdist 3.8: they are written where pytest no longer
looks. Its hook for a scheduler of one's own does work.
"""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

SHARING = "tests/e2e/test_platform_"


class OneInstance(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Tests of the running platform are one unit of work; every other test is one of its own."""

    def _split_scope(self, nodeid: str) -> str:
        return "platform" if nodeid.startswith(SHARING) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneInstance:
    return OneInstance(config, log)
