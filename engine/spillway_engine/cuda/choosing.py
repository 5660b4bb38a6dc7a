"""Logits and what becomes of them on the device: memory for rows and slots, and the launches from logits to tokens."""

from dataclasses import dataclass

import torch

from spillway_engine.cuda.kernels import choose, logits, logprobs
from spillway_engine.cuda.tiles import power_of_two
from spillway_engine.cuda.words import BLOCK
from spillway_wire.sampling import MAX_BIASED_TOKENS, MAX_LOGPROBS, MAX_STOP_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choosing:
    """Sizes: S rows or slots, V vocabulary. No address ever changes: graphs hold them."""

    latest: torch.Tensor
    """[S + 1] int32: the token that was sampled last for each slot."""
    logits: torch.Tensor
    """[S, V] float32."""
    changed: torch.Tensor
    """The same: rows that requests have changed."""
    tops: torch.Tensor
    """[S, blocks of the vocabulary] float32; `own_tops`, `best_tokens` and `best_scores` (float64) are as large."""
    own_tops: torch.Tensor
    best_scores: torch.Tensor
    best_tokens: torch.Tensor
    limits: torch.Tensor
    """[S] float32, as `heights`."""
    lasts: torch.Tensor
    """[S] int32."""
    heights: torch.Tensor
    token_ids: torch.Tensor
    """[S] int32: what a step sampled."""
    counts: torch.Tensor
    """[S, V] int32 token counts (`sampling.penalties`)."""
    counted: torch.Tensor
    """[S + 1] int32: up to which output position a slot's tokens are counted."""
    bias_ids: torch.Tensor
    bias_values: torch.Tensor
    suppressed_ids: torch.Tensor
    logprob_ids: torch.Tensor
    """[S, 1 + MAX_LOGPROBS] int32; values float64."""
    logprob_values: torch.Tensor
    logprob_ranks: torch.Tensor
    logprob_founds: torch.Tensor

    @classmethod
    def allocate(cls, slots: int, vocab_size: int, num_eos: int, device: torch.device) -> "Choosing":
        """Take all of it."""
        blocks = -(-vocab_size // BLOCK)

        def floats(*size: int) -> torch.Tensor:
            return torch.zeros(*size, dtype=torch.float32, device=device)

        def doubles(*size: int) -> torch.Tensor:
            return torch.zeros(*size, dtype=torch.float64, device=device)

        def words(*size: int) -> torch.Tensor:
            return torch.zeros(*size, dtype=torch.int32, device=device)

        return cls(
            latest=words(slots + 1),
            logits=floats(slots, vocab_size),
            changed=floats(slots, vocab_size),
            tops=floats(slots, blocks),
            own_tops=floats(slots, blocks),
            best_scores=doubles(slots, blocks),
            best_tokens=words(slots, blocks),
            limits=floats(slots),
            lasts=words(slots),
            heights=floats(slots),
            token_ids=words(slots),
            counts=words(slots, vocab_size),
            counted=words(slots + 1),
            bias_ids=words(slots, MAX_BIASED_TOKENS),
            bias_values=floats(slots, MAX_BIASED_TOKENS),
            suppressed_ids=words(slots, MAX_STOP_TOKENS + num_eos),
            logprob_ids=words(slots, 1 + MAX_LOGPROBS),
            logprob_values=doubles(slots, 1 + MAX_LOGPROBS),
            logprob_ranks=words(slots),
            logprob_founds=words(slots),
        )

    @property
    def vocab_size(self) -> int:
        """Tokens of the vocabulary."""
        return self.logits.shape[1]

    @property
    def num_blocks(self) -> int:
        """Blocks of the vocabulary."""
        return self.tops.shape[1]

    def sample(self, words: torch.Tensor, count: int) -> None:
        """Choose a token for each row of logits."""
        vocab, blocks = self.vocab_size, self.num_blocks
        padded = power_of_two(blocks)
        each = (count, blocks)
        strict = {"enable_fp_fusion": False}
        logits.count_and_copy[each](
            self.logits, self.changed, self.own_tops, words, self.counts, self.counted, self.latest,
            vocab, vocab, blocks, BLOCK=BLOCK, **strict,
        )  # fmt: skip
        logits.bias[(count,)](
            self.changed, words, self.bias_ids, self.bias_values, self.suppressed_ids,
            self.bias_ids.stride(0), self.suppressed_ids.stride(0), vocab, BLOCK=128, **strict,
        )  # fmt: skip
        logits.scan[each](
            self.logits, self.changed, self.tops, words, self.counts, vocab, vocab, blocks, BLOCK=BLOCK,
            **strict,
        )  # fmt: skip
        choose.find_limit[(count,)](
            self.token_ids, self.limits, self.lasts, self.heights, self.logits, self.changed,
            self.tops, self.own_tops, words, vocab, vocab, blocks, BLOCK=BLOCK, BLOCKS=padded, **strict,
        )  # fmt: skip
        choose.draw[each](
            self.best_scores, self.best_tokens, self.logits, self.changed, self.tops, words,
            self.limits, self.lasts, self.heights, vocab, vocab, blocks, BLOCK=BLOCK, **strict,
        )  # fmt: skip
        choose.choose[(count,)](
            self.token_ids, self.latest, self.best_scores, self.best_tokens, self.limits, words, blocks,
            BLOCKS=padded, **strict,
        )  # fmt: skip

    def logprobs(self, words: torch.Tensor, chosen: torch.Tensor, count: int) -> None:
        """Find the logprobs that rows of logits want, `chosen` [count] int32 first."""
        vocab, blocks = self.vocab_size, self.num_blocks
        logprobs.rank_and_weigh[(count,)](
            self.logprob_ids, self.logprob_values, self.logprob_ranks, self.logprob_founds,
            self.logits, chosen, words, vocab, vocab, 1 + MAX_LOGPROBS, blocks, BLOCK=BLOCK,
            enable_fp_fusion=False,
        )  # fmt: skip
