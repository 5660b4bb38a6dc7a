"""`spillway serve` with light children: `python fake_platform.py SETTINGS_JSON [ENGINE_PROGRAM…]`.

SIGHUP brings the settings in the file that `FAKE_PLATFORM_RELOADS` names, if it does.
"""

import os
import sys
from pathlib import Path

import msgspec

from spillway.errors import SpillwayError
from spillway.settings import Settings
from spillway.supervisor.main import run
from spillway.supervisor.services import Programs

HERE = Path(__file__).parent
SERVICE = (sys.executable, str(HERE / "fake_service.py"))


def main() -> int:
    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    engine = tuple(sys.argv[2:]) or (sys.executable, str(HERE / "fake_engine.py"))
    programs = Programs(engine=engine, gateway=(*SERVICE, "gateway"), ops=(*SERVICE, "ops"))
    reloads = os.environ.get("FAKE_PLATFORM_RELOADS")

    def reload() -> Settings:
        return settings if reloads is None else msgspec.json.decode(Path(reloads).read_bytes(), type=Settings)

    try:
        return run(
            settings,
            reload=reload,
            on_ready=lambda api, ops: print(f"ready api={api} ops={ops}", flush=True),  # noqa: T201 - as serve does
            programs=programs,
        )
    except SpillwayError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the same
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
