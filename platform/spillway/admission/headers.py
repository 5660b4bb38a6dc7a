"""What admission tells in the headers of every answer: `x-ratelimit-*`, which limits hold now, what was degraded."""

from collections.abc import Iterable, Iterator

from spillway.admission.contract import Standing

Header = tuple[bytes, bytes]


def standing_headers(standing: Standing) -> Iterator[Header]:
    """Say what is left to the tenant, with OpenAI's names; nothing of what has no limit."""
    for kind, limit, remaining, reset_s in (
        (b"requests", standing.limit_requests, standing.remaining_requests, standing.reset_requests_s),
        (b"tokens", standing.limit_tokens, standing.remaining_tokens, standing.reset_tokens_s),
    ):
        if limit is not None:
            yield b"x-ratelimit-limit-" + kind, b"%d" % limit
            yield b"x-ratelimit-remaining-" + kind, b"%d" % max(0, remaining or 0)
            yield b"x-ratelimit-reset-" + kind, duration(reset_s or 0.0)


def duration(seconds: float) -> bytes:
    """Write a time as OpenAI does, and Go: `12ms`, `1.5s`, `6m0s`, `1h0m5s`; rounded up to a millisecond."""
    milliseconds = max(0, -int(-seconds * 1000 // 1))
    if milliseconds < 1000:
        return b"%dms" % milliseconds
    minutes, rest = divmod(milliseconds, 60_000)
    said = f"{rest / 1000:g}s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        said = (f"{hours}h" if hours else "") + f"{minutes}m{said}"
    return said.encode()


def brownout_header(steps: Iterable[str]) -> Header | None:
    """Name the steps of the ladder that changed this request; None if none did."""
    said = ", ".join(steps)
    return (b"x-spillway-brownout", said.encode()) if said else None
