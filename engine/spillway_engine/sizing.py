"""How large an engine may be: context, step and cache, from settings and what the model needs."""

from collections.abc import Callable

from spillway_engine.errors import MemoryBudgetError, SettingsError
from spillway_engine.settings import EngineSettings, SchedulerSettings

STEP_TOKENS = 512
"""Token budget of a step on a CPU: while a chunk is computed, running streams pause."""

CACHE_SHARE = 0.25
"""Of the memory that is free at start, for the cache, unless a budget is given."""

DEFAULT_CONTEXT = 2048
"""For a model that does not say how long its context is."""


def context_of(settings: EngineSettings, max_positions: int | None) -> int:
    """Return the context that is served. Raises `SettingsError` for one that the model does not have."""
    context = settings.max_model_len or max_positions or DEFAULT_CONTEXT
    if max_positions is not None and context > max_positions:
        raise SettingsError(f"max_model_len is {context}; this model's context is {max_positions}")
    return context


def size_engine(
    settings: EngineSettings, *, max_positions: int | None, blocks_within: Callable[[int], int], free_bytes: int
) -> SchedulerSettings:
    """Return the limits of an engine on a CPU.

    `blocks_within` says how many cache blocks a number of bytes pays for. A given `kv_cache_bytes` is kept to the byte;
    by default the cache takes a share of `free_bytes`, and no more than all sequences at full length could fill.
    Raises `SettingsError` for a context that the model does not have, and `MemoryBudgetError` if not even one block
    fits or if the budget is more than there is.
    """
    context = context_of(settings, max_positions)
    useful = settings.max_num_seqs * -(-context // settings.block_size)
    if settings.kv_cache_bytes is None:
        num_blocks = min(blocks_within(int(free_bytes * CACHE_SHARE)), useful)
    elif settings.kv_cache_bytes > free_bytes:
        raise MemoryBudgetError(
            f"kv_cache_bytes is {settings.kv_cache_bytes}; {max(free_bytes, 0)} bytes are free beside the weights"
        )
    else:
        num_blocks = blocks_within(settings.kv_cache_bytes)
    if num_blocks < 1:
        budget = settings.kv_cache_bytes or int(free_bytes * CACHE_SHARE)
        raise MemoryBudgetError(
            f"{budget} bytes do not hold one cache block of {settings.block_size} tokens; raise kv_cache_bytes, "
            "or free some memory"
        )
    return SchedulerSettings(
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens or max(STEP_TOKENS, settings.max_num_seqs),
        max_model_len=context,
        block_size=settings.block_size,
        num_blocks=num_blocks,
        prefix_caching=settings.prefix_caching,
        step_policy=settings.step_policy,
        batch_wait_s=settings.batch_wait_s,
    )
