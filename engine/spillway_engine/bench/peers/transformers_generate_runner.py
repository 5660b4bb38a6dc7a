"""Stand-alone runner: transformers' `generate` on static batches of `concurrency` prompts, inside this process.

A round starts when the one before it has ended, as `generate` knows no arrivals: at a concurrency of N this is a closed
loop of N clients that all wait for the slowest. Reads the case file named in the first argument, prints one JSON line.

Option of a case: ``device`` (as torch names it; the CPU by default).
"""

import json
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, StoppingCriteriaList


class FirstToken:
    """A stopping criterion that never stops: it notes when the first step of a batch has ended."""

    def __init__(self) -> None:
        self.at: float | None = None

    def __call__(self, input_ids: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
        """Note the time of the first call; returns False for every row."""
        self.at = self.at or time.perf_counter()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def generate(model: Any, batch: list[list[int]], max_tokens: int) -> tuple[int, float]:
    """Complete one batch; return its number of new tokens and the seconds to its first ones."""
    prompts = torch.tensor(batch, device=model.device)
    first = FirstToken()
    settings = GenerationConfig(
        max_new_tokens=max_tokens, min_new_tokens=max_tokens, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    begin = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            generation_config=settings,
            stopping_criteria=StoppingCriteriaList([first]),
        )
    return (out.shape[1] - prompts.shape[1]) * len(batch), (first.at or begin) - begin


def main() -> None:
    """Load, warm up with other prompts of the same lengths, measure, print."""
    case = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(case["threads"])
    prompts, size = case["prompts"], case["concurrency"]
    if len({len(prompt) for prompt in prompts}) != 1:
        raise SystemExit("prompts of unequal lengths would need padding; this runner compares equal work only")
    model = AutoModelForCausalLM.from_pretrained(case["model_path"], dtype="auto").eval()
    model = model.to(case["options"].get("device", "cpu"))
    generate(model, [prompt[::-1] for prompt in prompts[:size]], case["max_tokens"])
    begin = time.perf_counter()
    rounds = [
        generate(model, prompts[start : start + size], case["max_tokens"]) for start in range(0, len(prompts), size)
    ]
    seconds = time.perf_counter() - begin
    result = {
        "served": False,
        "version": version("transformers"),
        "output_tokens": sum(tokens for tokens, _ in rounds),
        "seconds": seconds,
        "first_token_ms_p50": 1e3 * statistics.median(first for _, first in rounds),
        "note": f"static batches, {model.config._attn_implementation}, {model.dtype}",  # noqa: SLF001 - no public name
    }
    print(json.dumps(result))  # noqa: T201 - the answer of this process


if __name__ == "__main__":
    main()
