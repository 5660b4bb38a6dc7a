"""From what the settings call a model to its folder.

Names that are no folder are looked up by a process of its own: who asks a hub loads megabytes of HTTP, and the
supervisor stays small.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from spillway.errors import StartError
from spillway.settings import ModelSettings
from spillway.supervisor.exec_with_parent import tied_to
from spillway.supervisor.process import ChildProcess, Stream

_RESOLVE = """
import sys
from spillway_text.errors import ModelError
from spillway_text.folders import resolve_model
try:
    print(resolve_model(sys.argv[1]))
except ModelError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
"""


async def resolve(models: tuple[ModelSettings, ...]) -> dict[str, Path]:
    """Return the folder of each model by its name. Raises `StartError` that says what to do."""
    paths = await asyncio.gather(*(_resolve(model) for model in models))
    return {model.name: path for model, path in zip(models, paths, strict=True)}


async def _resolve(model: ModelSettings) -> Path:
    folder = _folder(model.model)
    return folder if folder is not None else await _look_up(model)


def _folder(name: str) -> Path | None:
    path = Path(name).expanduser()
    return path.absolute() if path.is_dir() else None


async def _look_up(model: ModelSettings) -> Path:
    output: list[str] = []
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    process = ChildProcess(
        (*tied_to(os.getpid()), sys.executable, "-c", _RESOLVE, model.model),
        on_line=lambda stream, line: output.append(line) if stream is Stream.OUTPUT else None,
        on_exit=lambda status: None if ended.done() else ended.set_result(status),
    )
    try:
        status = await ended
    finally:
        process.send_signal(signal.SIGKILL)  # if we are not waiting any more
    if status != 0 or not output:
        said = process.last_lines[-1] if process.last_lines else f"exit status {status}"
        raise StartError(f"model {model.name}: {said}")
    return Path(output[-1])
