"""The runtime folder: where the processes of one instance meet. Private (0700), and the supervisor's for its life.

::

    lock               held by flock while the supervisor lives; holds its pid
    settings.json      what the supervisor was started with, for its children
    supervisor.sock    the control plane (`spillway_wire.plane`)
    redis.sock         the embedded Redis
    engine-0.3.sock    an engine's address: one per incarnation
    engine-0.3.page    its progress (`spillway_wire.page`)
    gateway-0.1.tally  a gateway's counters (`spillway_wire.tally`)
    ops.2.series       the metrics of one incarnation of any process (`spillway_wire.series_page`)
    ops.totals         and those of all that are over (`spillway_wire.series_totals`)
    tenants.labels     tenants with metrics of their own (`spillway_wire.label_book`)
"""

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from spillway.errors import StartError
from spillway.settings import Settings
from spillway_wire.address import MAX_UNIX_PATH_BYTES, UnixAddress
from spillway_wire.series_totals import series_file

_LONGEST_NAME_BYTES = 32
"""`engine-999.9999999999.sock` and a separator, with room to spare."""


@dataclass(frozen=True, slots=True)
class RuntimeFolder:
    """The names of everything in the folder at `path`; raises `StartError` if sockets in it could have no address."""

    path: Path

    def __post_init__(self) -> None:
        num_bytes = len(os.fsencode(self.path))
        allowed = MAX_UNIX_PATH_BYTES - _LONGEST_NAME_BYTES
        if num_bytes > allowed:
            raise StartError(
                f"the path of the runtime folder, {str(self.path)!r}, is {num_bytes} bytes long, and sockets in it "
                f"could have no address; set runtime_dir to a path of at most {allowed} bytes"
            )

    @property
    def lock_file(self) -> Path:
        """Who holds its lock owns the folder."""
        return self.path / "lock"

    @property
    def settings_file(self) -> Path:
        """The settings as JSON; readable by the owner alone, because addresses in it may hold passwords."""
        return self.path / "settings.json"

    @property
    def supervisor_socket(self) -> Path:
        """Where the supervisor listens for its children."""
        return self.path / "supervisor.sock"

    @property
    def redis_socket(self) -> Path:
        """Where the embedded Redis listens."""
        return self.path / "redis.sock"

    def engine_socket(self, engine_id: str, incarnation: int) -> Path:
        """Where this incarnation of an engine listens."""
        return self.path / f"{engine_id}.{incarnation}.sock"

    def engine_address(self, engine_id: str, incarnation: int) -> str:
        """The address of that socket."""
        return str(UnixAddress(str(self.engine_socket(engine_id, incarnation))))

    def page(self, engine_id: str, incarnation: int) -> Path:
        """The progress page of this incarnation of an engine."""
        return self.path / f"{engine_id}.{incarnation}.page"

    def tally(self, gateway_id: str, incarnation: int) -> Path:
        """The counters of this incarnation of a gateway."""
        return self.path / f"{gateway_id}.{incarnation}.tally"

    def series(self, child_id: str, incarnation: int) -> Path:
        """The metrics of this incarnation of any process."""
        return series_file(self.path, child_id, incarnation)

    @property
    def tenant_labels(self) -> Path:
        """The book of tenants that have metrics of their own."""
        return self.path / "tenants.labels"

    def write_settings(self, settings: Settings) -> None:
        """Write the settings for the children; a reader sees the old ones or the new ones, never half."""
        fresh = self.settings_file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(settings)))
        fresh.replace(self.settings_file)

    def read_settings(self) -> Settings:
        """Return the settings that the supervisor wrote."""
        return msgspec.json.decode(self.settings_file.read_bytes(), type=Settings)
