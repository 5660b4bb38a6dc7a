"""Everything that must outlive the process that judges: one file, bounded, written whole and put in place at once.

It holds both rings, the last value of every series (so that what was counted while nobody looked is not lost), the
ledger, and the alerts. Columns are kept by name: objectives may change from one start to the next, and what is still
promised keeps its past. A file that cannot be read is put aside, and judging begins anew.
"""

import contextlib
import os
import zlib
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from spillway_slo.alerts import AlertBook, AlertState
from spillway_slo.evaluate import Evaluator
from spillway_slo.history import Ring
from spillway_slo.ledger import Ledger

FILE_NAME: Final = "slo.state"
VERSION: Final = 1
_LEVEL: Final = 1


class UnreadableError(ValueError):
    """The file is not what was written."""


def dump(evaluator: Evaluator, ledger: Ledger, alerts: AlertBook, *, scale: str, profile: str = "") -> bytes:
    """Return it all as bytes."""
    history = evaluator.history
    content = {
        "version": VERSION,
        "scale": scale,
        "profile": profile,
        "columns": evaluator.column_names(),
        "sums": list(evaluator.collector.sums),
        "slices": evaluator.slices,
        "last": evaluator.collector.last(),
        "fine": _packed(history.fine),
        "coarse": _packed(history.coarse),
        "ledger": ledger.dump(),
        "firing": [msgspec.to_builtins(alert) for alert in alerts.firing.values()],
        "past": [msgspec.to_builtins(alert) for alert in alerts.past],
    }
    return zlib.compress(msgspec.msgpack.encode(content), _LEVEL)


def _packed(ring: Ring) -> dict[str, Any]:
    # columns one after another, as differences: most of them are zeros
    rows = np.diff(ring.rows, axis=0, prepend=np.zeros((1, ring.rows.shape[1]))).T
    return {"times": ring.times.tobytes(), "rows": np.ascontiguousarray(rows).tobytes()}


def restore(data: bytes, evaluator: Evaluator, ledger: Ledger, *, scale: str) -> AlertBook:
    """Put it all back; return the alerts. Raises `UnreadableError`; then nothing was put anywhere."""
    try:
        content = msgspec.msgpack.decode(zlib.decompress(data))
        if content["version"] != VERSION:
            raise UnreadableError(f"it is of version {content['version']}")
        if content["scale"] != scale:
            raise UnreadableError(f"its windows were scaled by {content['scale']}, and now by {scale}")
        columns = {name: place for place, name in enumerate(content["columns"])}
        moved = [columns.get(name) for name in evaluator.column_names()]
        rings = [_unpacked(content[name], len(columns), moved) for name in ("fine", "coarse")]
        alerts = [msgspec.convert(content[name], list[AlertState]) for name in ("firing", "past")]
        last = [
            ((metric, tuple((a, b) for a, b in labels), le), value) for metric, labels, le, value in content["last"]
        ]
        dumped = Ledger()
        dumped.load(content["ledger"])
    except (zlib.error, msgspec.MsgspecError, KeyError, TypeError, IndexError) as error:
        raise UnreadableError(f"{type(error).__name__}: {error}") from None
    history = evaluator.history
    for ring, (times, rows) in zip((history.fine, history.coarse), rings, strict=True):
        for time, row in zip(times, rows, strict=True):
            ring.append(float(time), row)
    sums = {place: content["sums"][old] for place, old in enumerate(moved[: len(evaluator.streams)]) if old is not None}
    evaluator.collector.resume(sums, last)
    for name in evaluator.slices:
        evaluator.slices[name] = list(content["slices"].get(name, (0.0, 0.0)))
    ledger.load(content["ledger"])
    return AlertBook(*alerts)


def _unpacked(packed: dict[str, bytes], num_columns: int, moved: list[int | None]) -> tuple[Any, Any]:
    times = np.frombuffer(packed["times"])
    grown = np.frombuffer(packed["rows"]).reshape(num_columns, len(times))
    rows = np.zeros((len(times), len(moved)))
    for place, old in enumerate(moved):
        if old is not None:
            rows[:, place] = np.cumsum(grown[old])
    return times, rows


def check_time(evaluator: Evaluator, now: float) -> None:
    """Raise `UnreadableError` if what was restored is of the future: nothing could be added to it."""
    ahead_s = evaluator.history.last_time() - now
    if ahead_s > evaluator.history.tick_s:
        raise UnreadableError(f"it is {ahead_s:.0f} s ahead of the clock")


def made_with(data: bytes) -> tuple[str, str]:
    """Return the profile and the scale that a file was made with. Raises `UnreadableError`."""
    try:
        content = msgspec.msgpack.decode(zlib.decompress(data))
        return content["profile"], content["scale"]
    except (zlib.error, msgspec.MsgspecError, KeyError, TypeError) as error:
        raise UnreadableError(f"{type(error).__name__}: {error}") from None


def write(path: Path, data: bytes) -> None:
    """Put the file in place. Raises OSError."""
    draft = path.with_suffix(f".{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.chmod(0o600)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def put_aside(path: Path) -> None:
    """Keep a file that cannot be read for whoever wants to know why."""
    with contextlib.suppress(OSError):
        path.replace(path.with_name(path.name + ".broken"))
