"""The peers by name, and how each is installed.

An engine with a setting that matters on some machines and not on others appears once per value; its best figure is the
one to compare with.
"""

from functools import partial
from pathlib import Path

from spillway_engine.bench.peers.contract import Peer
from spillway_engine.bench.peers.environment import Recipe, current_environment, ensure_environment

HERE = Path(__file__).parent
VLLM = Recipe(name="vllm", lock=HERE / "locks" / "vllm.txt")
OPENVINO = Recipe(name="openvino", lock=HERE / "locks" / "openvino.txt")

_ALL = (
    Peer(
        name="transformers_generate",
        about="transformers' generate, static batches, in process",
        runner=HERE / "transformers_generate_runner.py",
        interpreter=current_environment,
    ),
    Peer(
        name="transformers_continuous",
        about="transformers' continuous batching, paged attention, in process",
        runner=HERE / "transformers_continuous_runner.py",
        interpreter=current_environment,
    ),
    Peer(
        name="vllm",
        about="vLLM's CPU build over HTTP, in the model's bfloat16",
        runner=HERE / "vllm_runner.py",
        interpreter=partial(ensure_environment, VLLM),
    ),
    Peer(
        name="vllm_float32",
        about="the same in float32, for processors without bfloat16 instructions",
        runner=HERE / "vllm_runner.py",
        interpreter=partial(ensure_environment, VLLM),
        options={"dtype": "float32"},
    ),
    Peer(
        name="openvino",
        about="OpenVINO GenAI's continuous batching as it comes, in process; most processors get an 8-bit cache",
        runner=HERE / "openvino_runner.py",
        interpreter=partial(ensure_environment, OPENVINO),
    ),
    Peer(
        name="openvino_exact_cache",
        about="the same with keys and values kept in float32, as precise as what the others keep, or more",
        runner=HERE / "openvino_runner.py",
        interpreter=partial(ensure_environment, OPENVINO),
        options={"cache_precision": "f32"},
    ),
)

PEERS = {peer.name: peer for peer in _ALL}
