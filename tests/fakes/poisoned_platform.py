"""`spillway serve` with real gateways and real ops before engines that a pill kills: `python poisoned_platform.py DIR`.

It prints a ready line as `spillway serve` does, and keeps all its files in DIR.
"""

import os
import sys
from pathlib import Path

from spillway.errors import SpillwayError
from spillway.settings import DrainSettings, NetworkSettings, RestartSettings, Settings
from spillway.state import StateFolder
from spillway.supervisor.main import run
from spillway.supervisor.services import Programs

ENGINE = (sys.executable, str(Path(__file__).parent / "poisonous_engine.py"))


def main(folder: Path) -> int:
    settings = Settings(
        engines=2,
        gateways=2,
        redis="redis://not-needed",
        state_dir=str(folder / "state"),
        runtime_dir=str(folder / "run"),
        network=NetworkSettings(port=0, ops_port=0),
        drain=DrainSettings(grace_s=0.0, timeout_s=10.0),
        restart=RestartSettings(backoff_base_s=0.02),
    )
    StateFolder.of(settings.state_dir, os.environ).create()
    try:
        return run(
            settings,
            on_ready=lambda api, ops: print(f"ready api={api} ops={ops}", flush=True),  # noqa: T201 - as serve does
            programs=Programs(engine=ENGINE),
        )
    except SpillwayError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the same
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
