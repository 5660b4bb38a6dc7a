"""Stand-alone runner: transformers' continuous batching, inside this process, as a closed loop of requests.

Its manager runs the model in a thread of its own; this one hands in a prompt for every answer that comes out. Reads the
case file named in the first argument and prints one JSON line.

Options of a case: ``attention`` (``sdpa`` or ``eager``, which it turns into their paged forms), ``device`` (as torch
names it; the CPU by default).
"""

import json
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

PAGE_SIZE = 32
ANSWER_TIMEOUT_S = 600.0


def closed_loop(
    manager: Any,
    prompts: list[list[int]],
    concurrency: int,
) -> tuple[int, list[float]]:
    """Answer every prompt, `concurrency` at a time; return the tokens made and the seconds to each first token."""
    waiting = iter(prompts)
    asked: dict[str, float] = {}

    def ask() -> None:
        prompt = next(waiting, None)
        if prompt is not None:
            asked[manager.add_request(prompt, record_timestamps=True)] = time.perf_counter()

    for _ in range(concurrency):
        ask()
    tokens, firsts = 0, []
    while asked:
        answer = manager.get_result(timeout=ANSWER_TIMEOUT_S)
        if answer is None or answer.error is not None:
            raise SystemExit(f"a request failed: {'no answer' if answer is None else answer.error}")
        if answer.is_finished():
            firsts.append(answer.timestamps[0] - asked.pop(answer.request_id))
            tokens += len(answer.generated_tokens)
            ask()
    return tokens, firsts


def main() -> None:
    """Load, warm up with other prompts of the same lengths, measure, print."""
    case = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(case["threads"])
    attention = case["options"].get("attention", "sdpa")
    prompts, concurrency = case["prompts"], case["concurrency"]
    pages_each = -(-(max(map(len, prompts)) + case["max_tokens"]) // PAGE_SIZE) + 1
    model = AutoModelForCausalLM.from_pretrained(case["model_path"], dtype="auto", attn_implementation=attention)
    model = model.to(case["options"].get("device", "cpu"))
    settings = GenerationConfig(max_new_tokens=case["max_tokens"], do_sample=False, eos_token_id=-1, pad_token_id=0)
    # The cache is bounded by hand: left alone it takes six tenths of the machine's memory.
    batching = ContinuousBatchingConfig(
        page_size=PAGE_SIZE, num_blocks=pages_each * concurrency * 2, max_batch_tokens=2048, allow_block_sharing=False
    )
    with model.eval().continuous_batching_context_manager(
        generation_config=settings, continuous_batching_config=batching
    ) as manager:
        closed_loop(manager, [prompt[::-1] for prompt in prompts[:concurrency]], concurrency)
        begin = time.perf_counter()
        tokens, firsts = closed_loop(manager, prompts, concurrency)
        seconds = time.perf_counter() - begin
    result = {
        "served": False,
        "version": version("transformers"),
        "output_tokens": tokens,
        "seconds": seconds,
        "first_token_ms_p50": 1e3 * statistics.median(firsts),
        "note": f"paged {attention}, {model.dtype}",
    }
    print(json.dumps(result))  # noqa: T201 - the answer of this process


if __name__ == "__main__":
    main()
