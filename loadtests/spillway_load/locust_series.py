"""Exact series beside Locust's own: records that workers send to their master, and the verdict at the end.

Locust rounds its times and would count a TTFT as a request of its own, so nothing of this goes through its statistics:
they hold one entry a request, with its whole duration. What workers saw goes to the master in messages; before it
quits, the master asks for the rest and waits for it, since Locust itself waits half a second and no longer.
"""

import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import gevent
import msgspec
from gevent.event import Event
from locust.env import Environment
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

from spillway_load.campaign import Campaign
from spillway_load.errors import Exit
from spillway_load.record import Record
from spillway_load.report import text
from spillway_load.report.page import page
from spillway_load.reports import Seen
from spillway_load.result import Result
from spillway_load.running import conclude
from spillway_load.series import Series

_COLLECT: Final = "spillway_collect"
_RECORDS: Final = "spillway_records"
_COLLECT_S: Final = 60.0
"""How long the master waits for what its workers saw."""
_BEAT_S: Final = 0.01
_SCHEDULING: Final = "generator scheduled as usual (Locust)"
_log = logging.getLogger(__name__)


class _Batch(msgspec.Struct):
    seen: Seen
    num_cut: int
    is_last: bool


class Book:
    """What one Locust process saw, and on the master what all did."""

    def __init__(self, environment: Environment, campaign: Campaign, out: Path | None) -> None:
        self._environment = environment
        self._campaign = campaign
        self._out = out
        self._complete: dict[str, Event] = {}
        self._missing = 0
        self.reset()
        runner, events = environment.runner, environment.events
        if isinstance(runner, WorkerRunner):
            runner.register_message(_COLLECT, self._collected)
            events.report_to_master.add_listener(self._report)
        else:
            if isinstance(runner, MasterRunner):
                runner.register_message(_RECORDS, self._received)
                events.worker_report.add_listener(self._heard)
            events.test_stop.add_listener(self._stopped)
            events.quitting.add_listener(self._quitting)
            if environment.web_ui is not None and environment.web_ui.app is not None:
                environment.web_ui.app.add_url_rule("/spillway", "spillway", self._page)
        events.test_start.add_listener(self.reset)
        gevent.spawn(self._beat)

    def reset(self, **_: Any) -> None:
        """Begin anew: a test starts."""
        self.start, self._started_unix = time.monotonic(), time.time()
        self._records: list[Record] = []
        self._beats: list[float] = []
        self._cpu_s, self._cpu_before = 0.0, time.process_time()
        self._num_open = self._num_cut = self._missing = 0

    def begin(self) -> None:
        """Note that a request is begun; one that Locust stops in its middle is never added."""
        self._num_open += 1

    def add(self, record: Record) -> None:
        """Keep what came of a request."""
        self._num_open -= 1
        self._records.append(record)

    def result(self) -> tuple[Result, Series]:
        """Judge what was seen until now."""
        if not isinstance(self._environment.runner, MasterRunner):
            self._cpu_s += time.process_time() - self._cpu_before
            self._cpu_before = time.process_time()
        series = Series(self._records, self._campaign.good)
        seen = Seen(series.records, self._beats, self._cpu_s, _SCHEDULING)
        result = conclude(self._campaign, str(self._environment.host or ""), series, [seen])
        result.started_monotonic, result.started_unix = self.start, self._started_unix
        result.duration_s = round(time.monotonic() - self.start, 3)
        if self._num_cut:
            result.notes.append(f"{self._num_cut} requests were cut off when Locust stopped; see --stop-timeout")
        if self._missing:
            result.notes.append(f"{self._missing} workers did not tell what they saw")
            result.valid, result.exit = False, Exit.INVALID
        return result, series

    # ---- on workers ----

    def _batch(self, *, is_last: bool) -> bytes:
        now = time.process_time()
        seen = Seen(self._records, self._beats, now - self._cpu_before, _SCHEDULING)
        batch = msgspec.msgpack.encode(_Batch(seen, self._num_open if is_last else 0, is_last))
        self._records, self._beats, self._cpu_before = [], [], now
        return batch

    def _report(self, client_id: str, data: dict[str, Any]) -> None:
        data[_RECORDS] = self._batch(is_last=False)

    def _collected(self, environment: Environment, msg: Any) -> None:
        if environment.runner is not None:
            environment.runner.stop()
            environment.runner.send_message(_RECORDS, self._batch(is_last=True))

    # ---- on the master ----

    def _heard(self, client_id: str, data: Mapping[str, Any]) -> None:
        if _RECORDS in data:
            self._merge(client_id, data[_RECORDS])

    def _received(self, environment: Environment, msg: Any) -> None:
        self._merge(msg.node_id, msg.data)

    def _merge(self, client_id: str, encoded: bytes) -> None:
        batch = msgspec.msgpack.decode(encoded, type=_Batch)
        self._records += batch.seen.records
        self._beats += batch.seen.beats_s
        self._cpu_s += batch.seen.cpu_s
        self._num_cut += batch.num_cut
        if batch.is_last and client_id in self._complete:
            self._complete[client_id].set()

    def _stopped(self, **_: Any) -> None:
        runner = self._environment.runner
        if isinstance(runner, MasterRunner):
            there = [client.id for client in runner.clients.values() if client.state != STATE_MISSING]
            self._complete = {client_id: Event() for client_id in there}
            runner.send_message(_COLLECT)
            gevent.wait(list(self._complete.values()), timeout=_COLLECT_S)
            self._missing = sum(not event.is_set() for event in self._complete.values())
        else:
            self._num_cut = self._num_open
            self._num_open = 0

    def _quitting(self, environment: Environment, **_: Any) -> None:
        if not self._records:
            _log.error("no request came to an end: nothing can be said of the objectives")
            environment.process_exit_code = Exit.MISSED
            return
        result, series = self.result()
        environment.process_exit_code = result.exit
        if self._out is not None:
            self._out.mkdir(parents=True, exist_ok=True)
            (self._out / "result.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)))
            (self._out / "report.html").write_text(page(result, series), encoding="utf-8")
        sys.stdout.write(text.summary(result, self._out))
        sys.stdout.flush()

    def _page(self) -> str:
        return page(*self.result()) if self._records else "No request has come to an end yet."

    def _beat(self) -> None:
        while True:
            due = time.monotonic() + _BEAT_S
            gevent.sleep(_BEAT_S)
            self._beats.append(time.monotonic() - due)
