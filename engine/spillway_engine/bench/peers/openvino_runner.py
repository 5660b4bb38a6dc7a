"""Stand-alone runner: OpenVINO GenAI's continuous batching pipeline, inside this process.

The model is converted once, with the exporter of this environment, and kept beside the original (``<model>-openvino``)
in 16-bit floating point: the same numbers as everybody else's, no quantisation. Reads the case file named in the first
argument and prints one JSON line.

Options of a case, each left to the engine unless given: ``cache_precision`` (``f32``, ``f16``, ``u8``; on most
processors it takes ``u8``, which quantises the key-value cache), ``batched_tokens`` (the most tokens that one step
computes).
"""

import json
import shutil
import statistics
import subprocess
import sys
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

CACHE_GIB = 1
numpy: Any = import_module("numpy")
openvino: Any = import_module("openvino")
genai: Any = import_module("openvino_genai")


def converted(model: Path) -> Path:
    """Return the folder of the converted model, made unless it is there and newer than the original."""
    target = model.with_name(f"{model.name}-openvino")
    finished = target / "openvino_model.bin"
    if finished.is_file() and finished.stat().st_mtime >= (model / "model.safetensors").stat().st_mtime:
        return target
    draft = model.with_name(f".{model.name}-openvino")
    for folder in (draft, target):
        shutil.rmtree(folder, ignore_errors=True)
    command = [str(Path(sys.executable).with_name("optimum-cli")), "export", "openvino", "--model", str(model)]
    command += ["--task", "text-generation-with-past", "--weight-format", "fp16", str(draft)]
    subprocess.run(command, check=True, stdout=sys.stderr)  # noqa: S603 - this environment's own exporter
    draft.rename(target)
    return target


def properties(case: dict[str, Any]) -> dict[str, Any]:
    """Return what the CPU plug-in is told: the threads, and the types that it computes and keeps keys and values in."""
    core = openvino.Core()
    chosen = {name: core.get_property("CPU", name) for name in ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION")}
    if precision := case["options"].get("cache_precision"):
        chosen["KV_CACHE_PRECISION"] = getattr(openvino.Type, precision)
    return {**chosen, "INFERENCE_NUM_THREADS": case["threads"]}


def pipeline(case: dict[str, Any]) -> Any:
    """Return the pipeline, compiled for the CPU with as many threads as the case allows."""
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = CACHE_GIB
    scheduler.max_num_seqs = case["concurrency"]
    scheduler.enable_prefix_caching = False
    if tokens := case["options"].get("batched_tokens"):
        scheduler.max_num_batched_tokens = tokens
    folder = str(converted(Path(case["model_path"])))
    return genai.ContinuousBatchingPipeline(folder, scheduler, "CPU", properties(case), {})


def settings(case: dict[str, Any]) -> Any:
    """Return greedy generation of exactly `max_tokens`.

    An end-of-sequence token must be given even when it is ignored; this one lies past the vocabulary.
    """
    vocabulary = json.loads((Path(case["model_path"]) / "config.json").read_text())["vocab_size"]
    config = genai.GenerationConfig()
    config.max_new_tokens = case["max_tokens"]
    config.ignore_eos = True
    config.do_sample = False
    config.set_eos_token_id(vocabulary)
    return config


def closed_loop(
    pipe: Any,
    config: Any,
    prompts: list[list[int]],
    concurrency: int,
) -> tuple[int, list[float]]:
    """Answer every prompt, `concurrency` at a time; return the tokens made and the seconds to each first token."""
    waiting = iter(enumerate(prompts))
    running: dict[int, Any] = {}
    asked: dict[int, float] = {}
    firsts: list[float] = []
    tokens = 0

    def ask() -> None:
        number, prompt = next(waiting, (None, None))
        if number is not None:
            asked[number] = time.perf_counter()
            running[number] = pipe.add_request(number, openvino.Tensor(numpy.array([prompt], "int64")), config)

    for _ in range(concurrency):
        ask()
    while running:
        pipe.step()
        for number, handle in list(running.items()):
            if handle.can_read():
                tokens += sum(len(output.generated_ids) for output in handle.read().values())
                if number in asked:
                    firsts.append(time.perf_counter() - asked.pop(number))
            if handle.get_status() != genai.GenerationStatus.RUNNING:
                del running[number]
                ask()
    return tokens, firsts


def main() -> None:
    """Convert, compile, warm up with other prompts of the same lengths, measure, print."""
    case = json.loads(Path(sys.argv[1]).read_text())
    prompts, concurrency = case["prompts"], case["concurrency"]
    pipe, config = pipeline(case), settings(case)
    closed_loop(pipe, config, [prompt[::-1] for prompt in prompts[:concurrency]], concurrency)
    begin = time.perf_counter()
    tokens, firsts = closed_loop(pipe, config, prompts, concurrency)
    seconds = time.perf_counter() - begin
    chosen = properties(case)
    computed, kept = (chosen[name].get_type_name() for name in ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION"))
    result = {
        "served": False,
        "version": version("openvino-genai"),
        "output_tokens": tokens,
        "seconds": seconds,
        "first_token_ms_p50": 1e3 * statistics.median(firsts),
        "note": f"16-bit weights, computed in {computed}, key-value cache in {kept}",
    }
    print(json.dumps(result))  # noqa: T201 - the answer of this process


if __name__ == "__main__":
    main()
