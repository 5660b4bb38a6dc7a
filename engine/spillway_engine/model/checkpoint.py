"""The tensors of a Hugging Face folder: safetensors only, read lazily, each checked against what is expected of it.

No pickle is ever opened: a pickle runs code when it is read.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open

from spillway_engine.errors import InvalidCheckpointError, ModelNotFoundError
from spillway_text.fields import read_json

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class Checkpoint:
    """Tensors by name. Opening reads headers only; a tensor's bytes are read when it is asked for.

    A context manager; `close` is idempotent. Raises `ModelNotFoundError` if there are no safetensors, and
    `InvalidCheckpointError` naming the file or the tensor that is broken.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        """`device`: where tensors are read to, as torch names it."""
        self.path = path
        self._device = device
        self._open_files = ExitStack()
        self._files: dict[str, Any] = {}
        """Tensor name to the open file that holds it; the library's handles are untyped."""
        self._unread: set[str] = set()
        try:
            for file in _shards(path):
                self._open(file)
            _check_index(path, self._files)
        except BaseException:
            self.close()
            raise
        self._unread.update(self._files)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def __repr__(self) -> str:
        return f"<Checkpoint {self.path} tensors={len(self._files)} unread={len(self._unread)}>"

    @property
    def names(self) -> tuple[str, ...]:
        """All tensors, in the order of their names."""
        return tuple(sorted(self._files))

    @property
    def unused(self) -> tuple[str, ...]:
        """Tensors that nobody has asked for."""
        return tuple(sorted(self._unread))

    @property
    def dtype(self) -> torch.dtype:
        """The type of the first tensor by name: what the checkpoint is in, where config.json does not say."""
        return self._header(self.names[0])[0]

    def tensor(self, name: str, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> torch.Tensor:
        """Read a tensor, contiguous, converted to `dtype` if one is given."""
        found_dtype, found = self._header(name)
        if found != shape:
            raise InvalidCheckpointError(f"{self.path}: tensor {name} has shape {found}; {shape} was expected")
        try:
            tensor: torch.Tensor = self._files[name].get_tensor(name)
        except (SafetensorError, OSError, RuntimeError) as error:
            raise InvalidCheckpointError(f"{self.path}: tensor {name} cannot be read: {error}") from error
        self._unread.discard(name)
        return tensor.to(dtype or found_dtype).contiguous()

    def bytes_as(self, dtype: torch.dtype) -> int:
        """Return how many bytes all tensors take once they are converted to `dtype`."""
        return dtype.itemsize * sum(_numel(shape) for _, shape in map(self._header, self._files))

    def check_all_read(self) -> None:
        """Raise `InvalidCheckpointError` if a tensor was neither read nor ignored: the model is not the one it is for.

        A decoder that leaves out a bias, say, answers all the same, and answers nonsense.
        """
        if self._unread:
            raise InvalidCheckpointError(
                f"{self.path}: tensor {self.unused[0]} is there, but the model that config.json describes has no place "
                f"for it ({len(self._unread)} such tensors); is config.json this checkpoint's own?"
            )

    def ignore(self, *names: str) -> None:
        """Take tensors off the list of unused ones: they are known, and not needed."""
        self._unread.difference_update(names)

    def close(self) -> None:
        """Close the files. Tensors that were read stay valid."""
        self._files.clear()
        self._open_files.close()

    def _open(self, file: Path) -> None:
        try:
            handle = self._open_files.enter_context(safe_open(file, framework="pt", device=self._device))
        except FileNotFoundError:
            raise ModelNotFoundError(f"{file} does not exist, but {INDEX_FILE} names it") from None
        except (SafetensorError, OSError) as error:
            raise InvalidCheckpointError(f"{file} is not a whole safetensors file: {error}") from error
        self._files.update(dict.fromkeys(handle.keys(), handle))

    def _header(self, name: str) -> tuple[torch.dtype, tuple[int, ...]]:
        if name not in self._files:
            raise InvalidCheckpointError(f"{self.path}: tensor {name} is missing")
        header = self._files[name].get_slice(name)
        dtype = _FLOATS.get(header.get_dtype())
        if dtype is None:
            raise InvalidCheckpointError(
                f"{self.path}: tensor {name} is of type {header.get_dtype()}; one of {', '.join(_FLOATS)} was expected"
            )
        return dtype, tuple(header.get_shape())


def _shards(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        raise ModelNotFoundError(f"{path} is not a folder")
    if (path / SINGLE_FILE).is_file():
        yield path / SINGLE_FILE
    elif (path / INDEX_FILE).is_file():
        yield from (path / name for name in sorted(set(_weight_map(path).values())))
    elif pickles := sorted(file.name for file in path.glob("*.bin")):
        raise ModelNotFoundError(
            f"{path} holds {pickles[0]} but no {SINGLE_FILE}. Pickled weights run code when they are read and are not "
            "opened here; convert them once, in a place you trust: AutoModelForCausalLM.from_pretrained(folder)"
            ".save_pretrained(new_folder) writes safetensors"
        )
    else:
        raise ModelNotFoundError(f"{path} holds neither {SINGLE_FILE} nor {INDEX_FILE}")


def _weight_map(path: Path) -> dict[str, str]:
    weight_map = read_json(path / INDEX_FILE).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InvalidCheckpointError(f"{path / INDEX_FILE}: key 'weight_map' is missing or empty")
    for name, file in weight_map.items():
        # a name with a folder in it could lead out of the model's own
        if not isinstance(file, str) or Path(file).name != file:
            raise InvalidCheckpointError(f"{path / INDEX_FILE}: tensor {name} is in {file!r}; a file name was expected")
    return weight_map


def _check_index(path: Path, found: dict[str, Any]) -> None:
    if (path / SINGLE_FILE).is_file():
        return
    for name, file in _weight_map(path).items():
        if name not in found:
            raise InvalidCheckpointError(f"{path / file}: tensor {name} is missing, but {INDEX_FILE} says it is there")


def _numel(shape: tuple[int, ...]) -> int:
    numel = 1
    for size in shape:
        numel *= size
    return numel
