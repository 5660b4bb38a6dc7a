"""From what a user calls a model to the folder that holds it."""

import re
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from spillway_text.errors import ModelNotFoundError

DEMO = "demo"

ALLOWED_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model", "*.txt")
"""What is downloaded of a hub repository: no pickles and no code."""

CODE_FILES = ("*.py",)
"""What is downloaded beside it for who trusts the repository's code."""

IGNORED_FILES = ("consolidated*", "original/*")
"""Second copies of the weights, in formats of their makers."""

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)


def resolve_model(name: str, *, code: bool = False, download: Callable[[str], Path] | None = None) -> Path:
    """Return the folder of a model.

    `name` is `demo`, a folder, or a hub id (`owner/model`), which is downloaded unless it is in the hub's cache.
    `code`: its Python files, too, for a model that is run with its own code. `download` replaces the hub.
    Raises `ModelNotFoundError` that says what was tried and what to do.
    """
    if name == DEMO:
        return _folder(_demo_folder())
    path = Path(name).expanduser()
    if path.is_dir():
        return _folder(path)
    if path.exists():
        raise ModelNotFoundError(f"{path} is a file; give the folder that holds config.json and the weights")
    if name.startswith((".", "/", "~")) or not _HUB_ID.fullmatch(name):
        raise ModelNotFoundError(f"{path} does not exist; give a folder with config.json and safetensors, or a hub id")
    return _folder((download or partial(download_from_hub, code=code))(name))


def download_from_hub(repository: str, *, code: bool = False) -> Path:
    """Fetch a repository into the hub's cache, or find it there; of its code only with `code`.

    Raises `ModelNotFoundError` if neither works.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - slow to import, and folders need no hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415 - the same

    advice = "pass the path of a folder that holds config.json, tokenizer.json and safetensors instead"
    try:
        wanted = ALLOWED_FILES + CODE_FILES if code else ALLOWED_FILES
        return Path(snapshot_download(repository, allow_patterns=list(wanted), ignore_patterns=list(IGNORED_FILES)))
    except LocalEntryNotFoundError as error:
        raise ModelNotFoundError(
            f"{repository!r} is no folder here, and the Hugging Face hub was neither reachable nor had it been cached: "
            f"{_first_line(error)}; {advice}, or allow this host to reach the hub"
        ) from error
    except HfHubHTTPError as error:
        raise ModelNotFoundError(
            f"{repository!r} is no folder here, and the Hugging Face hub refused it: {_first_line(error)}; check the "
            f"id, set HF_TOKEN if the model is gated, or {advice}"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(
            f"{repository!r} is no folder here, and could not be had from the Hugging Face hub: {_first_line(error)}; "
            f"{advice}"
        ) from error


def _demo_folder() -> Path:
    """Where the engine's package keeps its demo model; found without importing the engine."""
    package = find_spec("spillway_engine")
    if package is None or not package.submodule_search_locations:
        raise ModelNotFoundError("the demo model comes with spillway_engine, which is not installed here")
    return Path(package.submodule_search_locations[0]) / "demo" / "model"


def _folder(path: Path) -> Path:
    if not (path / "config.json").is_file():
        raise ModelNotFoundError(f"{path} holds no config.json: it is not a Hugging Face model folder")
    return path


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
