"""What this package raises: one error, whose message names the file, the place in it, and what to do."""


class SpecError(ValueError):
    """An objective is not what OpenSLO, or Spillway, allows."""
