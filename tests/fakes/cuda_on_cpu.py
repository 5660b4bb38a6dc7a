"""The CUDA path without a GPU: Triton's interpreter, devices whose queue runs when it must, a sampler of both."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import triton.language as tl
from triton.runtime import interpreter

from spillway_engine.cuda.choosing import Choosing
from spillway_engine.cuda.device import Host, Work
from spillway_engine.cuda.landing import Landing
from spillway_engine.cuda.sampler import DeviceSampler, idle_words
from spillway_engine.cuda.words import UNSOUND, WORDS
from spillway_engine.request import Sequence as EngineSequence
from spillway_wire.messages import PositionLogprobs


def _bits_of_bfloat16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    tensor = torch.from_numpy(np.ascontiguousarray(values)).to(torch.bfloat16)
    bits: npt.NDArray[np.uint16] = tensor.view(torch.uint16).numpy().reshape(values.shape)
    return bits


def _from_bfloat16(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def teach_bfloat16() -> None:
    """Make the interpreter round to short floats as a GPU does, and multiply them.

    Of itself it truncates to bfloat16, multiplies its bits, and drops the carry when it rounds to float8.
    """
    convert, builder = interpreter._convert_float, interpreter.InterpreterBuilder

    def better_convert(values: Any, source: Any, target: Any, rounding: Any) -> Any:
        if source == tl.float32 and target == tl.bfloat16:
            return _bits_of_bfloat16(values)
        if source == tl.bfloat16 and target == tl.float32:
            return _from_bfloat16(values)
        if source == tl.float32 and target == tl.float8e4nv:
            return torch.from_numpy(np.ascontiguousarray(values)).to(torch.float8_e4m3fn).view(torch.uint8).numpy()
        return convert(values, source, target, rounding).reshape(values.shape)

    def dot(_: Any, a: Any, b: Any, c: Any, *_more: Any) -> Any:
        left, right = (_from_bfloat16(x.data) if x.dtype.scalar == tl.bfloat16 else x.data for x in (a, b))
        product = np.matmul(left, right, dtype=c.data.dtype) + c.data
        return interpreter.TensorHandle(product, c.dtype.scalar)

    interpreter._convert_float = better_convert
    builder.create_dot = dot


class LateDevice:
    """Runs what is queued when somebody waits for it, and not before: whoever changes what is still read is found."""

    torch_device = torch.device("cpu")

    def __init__(self, *, total_bytes: int = 1 << 30) -> None:
        self._queue: list[Work] = []
        self._done = 0
        self.total_bytes = total_bytes
        self.num_replays = 0
        self.num_waits = 0
        self.fault: Callable[[], None] = lambda: None
        """Called whenever queued work runs: as an error of the device, it shows when somebody waits."""
        self.refuse: Callable[[], None] = lambda: None
        """Called whenever a launch is queued: as want of memory, it shows at once."""

    def pinned(self, shape: Sequence[int], dtype: npt.DTypeLike) -> Host:
        return np.zeros(tuple(shape), dtype)

    def copy_in(self, target: torch.Tensor, source: Host) -> None:
        self._add(lambda: target.copy_(torch.from_numpy(source)))

    def copy_out(self, target: Host, source: torch.Tensor) -> None:
        self._add(lambda: torch.from_numpy(target).copy_(source))

    def queue(self, work: Work) -> None:
        self.refuse()
        self._add(work)

    def mark(self) -> "LateEvent":
        return LateEvent(self, self._done + len(self._queue))

    def record(self, work: Work) -> "LateGraph":
        self.synchronize()
        work()
        return LateGraph(self, work)

    def free_bytes(self) -> tuple[int, int]:
        return self.total_bytes, self.total_bytes

    def give_back(self) -> None:
        pass

    def synchronize(self) -> None:
        self.run_until(self._done + len(self._queue))

    def run_until(self, mark: int) -> None:
        """Run the queue up to a mark."""
        while self._done < mark:
            work = self._queue.pop(0)
            self._done += 1
            self.fault()
            work()

    def _add(self, work: Callable[[], object]) -> None:
        self._queue.append(lambda: (work(), None)[1])


class EarlyDevice(LateDevice):
    """Runs everything at once."""

    def _add(self, work: Callable[[], object]) -> None:
        super()._add(work)
        self.synchronize()


class LateEvent:
    def __init__(self, device: LateDevice, mark: int) -> None:
        self._device, self._mark = device, mark

    def wait(self) -> None:
        self._device.num_waits += 1
        self._device.run_until(self._mark)


class LateGraph:
    def __init__(self, device: LateDevice, work: Work) -> None:
        self._device, self._work = device, work

    def replay(self) -> None:
        self._device.num_replays += 1
        self._work()


class InterpretedSampler:
    """The device's sampler behind the CPU sampler's interface."""

    def __init__(self, max_num_seqs: int, vocab_size: int, eos_token_ids: Sequence[int] = ()) -> None:
        self.vocab_size = vocab_size
        device = EarlyDevice()
        self._choosing = Choosing.allocate(max_num_seqs, vocab_size, len(eos_token_ids), device.torch_device)
        self._sampler = DeviceSampler(device, self._choosing, max_num_seqs, vocab_size, eos_token_ids)
        self._words = np.zeros((max_num_seqs, WORDS), np.int32)

    @property
    def num_counting(self) -> int:
        return self._sampler._slots.num_counting

    def join(self, sequence: EngineSequence) -> None:
        self._sampler.join(sequence)

    def prepare(self, slots: Sequence[int], positions: Sequence[int]) -> bool:
        self._sampler.fill(self._words.reshape(-1), np.array(slots, np.int32), np.array(positions, np.int32))
        return not self._sampler._slots.plain[slots].all()

    def sample_rows(self, logits: npt.NDArray[np.float32], first: int, last: int, thread: int = 0) -> None:
        del thread
        self._choosing.logits[first:last] = torch.from_numpy(logits[first:last, : self.vocab_size].copy())
        self._choosing.sample(torch.from_numpy(self._words.reshape(-1)), last)

    def finish(self, num_rows: int) -> tuple[list[int | None], list[int]]:
        tokens = self._choosing.token_ids[:num_rows].tolist()
        return [None if token == UNSOUND else token for token in tokens], [
            row for row, token in enumerate(tokens) if token == UNSOUND
        ]

    def logprobs(self, logits: npt.NDArray[np.float32], chosen: int, num_top: int) -> PositionLogprobs | None:
        idle_words(self._words, 0, num_top)
        self._choosing.logits[0] = torch.from_numpy(logits[: self.vocab_size].copy())
        words = torch.from_numpy(self._words.reshape(-1))
        self._choosing.logprobs(words, torch.tensor([chosen], dtype=torch.int32), 1)
        landing = Landing.on(EarlyDevice(), 1)
        landing.fetch(EarlyDevice(), self._choosing, 1, tokens=False, logprobs=True)
        return landing.logprobs(0, num_top)
