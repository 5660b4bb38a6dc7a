"""Who hangs: pure verdicts from what was last seen of a run, and when not to trust one's own eyes."""

from dataclasses import dataclass

from spillway_wire.page import Progress, overdue

WATCH_S = 0.1
"""How often verdicts are asked for."""
STALLED_S = 0.5
"""A watch that comes later than this was held up itself: the machine, a debugger, a stopped process group."""
BEAT_LOST_NS = 5_000_000_000
"""A gateway or ops that has not beaten for so long hangs; it beats twice a second."""


def late_engine(progress: Progress | None, now_ns: int, floor_ns: int) -> str | None:
    """Say why an engine that serves hangs, by its page, or return None."""
    if progress is None or overdue(progress, now_ns, floor_ns=floor_ns) is None:
        return None
    if progress.started_ns is None:
        return f"no sign of life for {(now_ns - progress.ticked_ns) / 1e9:.1f} s after step {progress.step}"
    return (
        f"step {progress.step} has run for {(now_ns - progress.started_ns) / 1e9:.1f} s; "
        f"{progress.expected_ns / 1e9:.2g} s were expected"
    )


def late_beat(beat_ns: int, now_ns: int, patience_ns: int = BEAT_LOST_NS) -> str | None:
    """Say why a child hangs whose last beat came at `beat_ns`, or return None."""
    age_ns = now_ns - beat_ns
    return f"no beat for {age_ns / 1e9:.1f} s" if age_ns > patience_ns else None


def late_start(spawned_ns: int, now_ns: int, timeout_s: float) -> str | None:
    """Say that a process takes too long to become ready, or return None."""
    age_s = (now_ns - spawned_ns) / 1e9
    return f"not ready within {timeout_s:g} s" if age_s > timeout_s else None


@dataclass(slots=True)
class Watch:
    """Knows whether the watcher itself was held up: what it sees right after is old, and proves nothing.

    Whoever was held up together with us (a suspended machine, a starved one) needs as long as anybody to show life
    again, so verdicts are discarded for `pardon_ns` after a stall.
    """

    pardon_ns: int
    stalled_ns: int = int(STALLED_S * 1e9)
    _last_ns: int | None = None
    _trust_from_ns: int = 0
    num_stalls: int = 0

    def look(self, now_ns: int) -> bool:
        """Say whether what is seen now may be judged; to be called at every watch, and only then."""
        if self._last_ns is not None and now_ns - self._last_ns > self.stalled_ns:
            self.num_stalls += 1
            self._trust_from_ns = now_ns + self.pardon_ns
        self._last_ns = now_ns
        return now_ns >= self._trust_from_ns
