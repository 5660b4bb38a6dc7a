"""How many retries are borne while load is refused: a share of the first tries, so that retries never are the load.

A retry that comes when it was told to costs nothing; it was counted on.
"""

from typing import Final

MOST: Final = 10.0
"""Retries that may be saved up: a few that fail in quiet times are no storm."""


class RetryBudget:
    """A bucket that first tries fill and retries empty."""

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio
        """Retries for each first try."""
        self.left = MOST

    def first_try(self) -> None:
        """Count a request that is no retry."""
        self.left = min(MOST, self.left + self.ratio)

    def retry(self, *, refusing: bool) -> bool:
        """Count a retry out of turn; False: it is one too many. While nothing is refused, none is."""
        if self.left >= 1.0:
            self.left -= 1.0
            return True
        return not refusing
