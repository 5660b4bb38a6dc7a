"""The one seam to CUDA: memory, copies, events and graphs. All else of this package is arithmetic and bookkeeping.

Work is queued and runs later, in the order in which it was queued. So what is copied to the device must not be changed
before the copy has run, and what is copied back must not be read before its event has come. A test's double runs
everything as late as it may, and finds whoever forgets that.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from spillway_engine.errors import SettingsError

Host = npt.NDArray[Any]
Work = Callable[[], None]


class Event(Protocol):
    """A point in the queue."""

    def wait(self) -> None:
        """Block until the queue has come there. Raises what went wrong on the way."""
        ...


class Graph(Protocol):
    """Work that was recorded once."""

    def replay(self) -> None:
        """Queue it again; it reads and writes the memory that it was recorded with."""
        ...


class Device(Protocol):
    """A device with one queue."""

    @property
    def torch_device(self) -> torch.device:
        """Where its tensors lie."""
        ...

    def pinned(self, shape: Sequence[int], dtype: npt.DTypeLike) -> Host:
        """Return zeroed host memory that copies can run from and to beside the host's own work; kept for good."""
        ...

    def copy_in(self, target: torch.Tensor, source: Host) -> None:
        """Queue a copy from pinned memory."""
        ...

    def copy_out(self, target: Host, source: torch.Tensor) -> None:
        """Queue a copy to pinned memory."""
        ...

    def queue(self, work: Work) -> None:
        """Queue what `work` launches."""
        ...

    def mark(self) -> Event:
        """Return the end of the queue as it is now."""
        ...

    def record(self, work: Work) -> Graph:
        """Run `work` once to warm it up, then record what it launches, without running it."""
        ...

    def free_bytes(self) -> tuple[int, int]:
        """Return how much of the device's memory is free, and all there is."""
        ...

    def give_back(self) -> None:
        """Return memory that is kept for later to the device."""
        ...

    def synchronize(self) -> None:
        """Block until the queue is empty. Raises what went wrong on the way."""
        ...


class CudaDevice:
    """The first GPU that this process sees. Graphs share one pool of memory: they never run at the same time."""

    def __init__(self) -> None:
        """Raise `SettingsError` where there is no GPU that this torch can use."""
        problem = cuda_problem()
        if problem is not None:
            raise SettingsError(problem)
        self.torch_device = torch.device("cuda", 0)
        torch.cuda.set_device(self.torch_device)
        self._stream = torch.cuda.Stream(self.torch_device)  # type: ignore[no-untyped-call]  # torch has no types there
        torch.cuda.set_stream(self._stream)  # for good: this process has one queue
        self._pool: Any = torch.cuda.graph_pool_handle()
        self._pinned: dict[int, torch.Tensor] = {}
        """By address: the tensors whose memory numpy sees."""

    def pinned(self, shape: Sequence[int], dtype: npt.DTypeLike) -> Host:
        """See `Device`."""
        kind = np.dtype(dtype)
        size = int(np.prod(shape)) * kind.itemsize
        held = torch.zeros(max(size, 1), dtype=torch.uint8, pin_memory=True)
        array = held.numpy()[:size].view(kind).reshape(shape)
        self._pinned[array.ctypes.data] = held  # for the life of the device: copies may run at any time
        return array

    def copy_in(self, target: torch.Tensor, source: Host) -> None:
        """See `Device`."""
        target.copy_(torch.from_numpy(source), non_blocking=True)

    def copy_out(self, target: Host, source: torch.Tensor) -> None:
        """See `Device`."""
        torch.from_numpy(target).copy_(source, non_blocking=True)

    def queue(self, work: Work) -> None:
        """See `Device`."""
        work()

    def mark(self) -> Event:
        """See `Device`."""
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # the same
        event.record(self._stream)
        return _CudaEvent(event)

    def record(self, work: Work) -> Graph:
        """See `Device`."""
        work()
        self.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            work()
        return graph

    def free_bytes(self) -> tuple[int, int]:
        """See `Device`."""
        free, total = torch.cuda.mem_get_info(self.torch_device)
        return int(free), int(total)

    def give_back(self) -> None:
        """See `Device`."""
        torch.cuda.empty_cache()

    def synchronize(self) -> None:
        """See `Device`."""
        torch.cuda.synchronize(self.torch_device)


class _CudaEvent:
    """A CUDA event. The host blocks in the driver, without the interpreter lock."""

    def __init__(self, event: Any) -> None:
        self._event = event

    def wait(self) -> None:
        """See `Event`."""
        self._event.synchronize()


def cuda_problem() -> str | None:
    """Return why this process cannot use a GPU, and what to do; None if it can."""
    if torch.version.cuda is None:
        return (
            f"device is 'cuda'; this torch ({torch.__version__}) is built for the CPU: install a build for CUDA, or "
            "use 'cpu' (or 'auto')"
        )
    if not torch.cuda.is_available():
        return (
            "device is 'cuda'; torch finds no GPU: see whether nvidia-smi lists one and what CUDA_VISIBLE_DEVICES "
            "says, or use 'cpu' (or 'auto')"
        )
    try:
        import triton  # noqa: F401, PLC0415 - asked for, not used here
    except ImportError:
        return "device is 'cuda'; Triton is missing: pip install 'spillway[cuda]', or use 'cpu' (or 'auto')"
    return None
