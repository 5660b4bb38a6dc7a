"""How many cache blocks a GPU's memory holds. Pure: measured bytes in, blocks out."""

from dataclasses import dataclass

from spillway_engine.errors import MemoryBudgetError

RESERVE_SHARE = 0.01
LEAST_RESERVE = 256 << 20
"""Kept free of the budget for what comes later: graphs, kernels that are loaded on first use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A GPU's memory before and after the largest step, in bytes."""

    total: int
    free_before: int
    """When this process had done nothing but open the device."""
    free_after: int
    """With weights, buffers and whatever the largest step left behind; without a cache."""

    @property
    def taken(self) -> int:
        """What this engine holds beside its cache."""
        return max(self.free_before - self.free_after, 0)


def blocks_for(
    measured: Measured, utilization: float, block_bytes: int, *, useful: int, kv_cache_bytes: int | None
) -> int:
    """Return how many blocks the cache gets: what `utilization` of all memory leaves, at most `useful`.

    Others on the same GPU may hold memory, so it is never more than what is free. Raises `MemoryBudgetError` if not
    one block fits, or if `kv_cache_bytes` asks for more than there is.
    """
    reserve = max(LEAST_RESERVE, int(measured.total * RESERVE_SHARE))
    budget = int(measured.total * utilization) - measured.taken - reserve
    left = min(budget, measured.free_after - reserve)
    if kv_cache_bytes is not None:
        if kv_cache_bytes > measured.free_after - reserve:
            raise MemoryBudgetError(
                f"kv_cache_bytes is {kv_cache_bytes}; {max(measured.free_after - reserve, 0)} bytes of the GPU are "
                "free beside the weights"
            )
        left = kv_cache_bytes
    blocks = min(left // block_bytes, useful)
    if blocks < 1:
        raise MemoryBudgetError(
            f"{max(left, 0) >> 20} MiB of the GPU's {measured.total >> 20} MiB are left for the cache, which do not "
            f"hold one block of {block_bytes} bytes: weights and buffers take {measured.taken >> 20} MiB, "
            f"{measured.free_after >> 20} MiB are free, and gpu_memory_utilization is {utilization:g}. Raise it, or "
            "lower max_num_seqs or max_num_batched_tokens"
        )
    return blocks
