"""Inside the engines: steps and batches, the key-value cache, what went wrong there, and the accelerators."""

from typing import Final

from spillway_dashboards import panels
from spillway_dashboards.model import ORANGE, RED, Board, Panel, Query, Row, Shape, Threshold, never, rising
from spillway_dashboards.promql import Scope, share
from spillway_wire import names
from spillway_wire import status_names as status

_SCOPE: Final = Scope(frozenset({"model", "engine"}))
_EACH: Final = ("engine",)
_COUNTERS: Final = status.ENGINE_COUNTERS


def _rate(name: str, legend: str = "{{engine}}") -> Query:
    """Return the rate of a counter of engines."""
    return Query(expr=_SCOPE.rate(_COUNTERS[name], by=_EACH), legend=legend)


_LIFE: Final = Row(
    title="Life",
    panels=(
        panels.engine_states(_SCOPE, width=16),
        Panel(
            title="Incarnations",
            description="How often each engine was started since Spillway began.",
            unit="short",
            queries=(Query(expr=_SCOPE.now(status.ENGINE_INCARNATION, by=_EACH, how="max"), legend="{{engine}}"),),
            height=6,
        ),
    ),
)

_STEPS: Final = Row(
    title="Steps",
    panels=(
        Panel(
            title="Duration of a step",
            description="One step computes the batch once: each of its sequences gets one token, or a chunk of its "
            "prompt. A stream cannot be faster than its engine's steps.",
            unit="s",
            queries=(
                Query(expr=_SCOPE.quantile(0.5, names.STEP_DURATION, by=_EACH), legend="{{engine}} p50"),
                Query(expr=_SCOPE.quantile(0.99, names.STEP_DURATION, by=_EACH), legend="{{engine}} p99"),
            ),
        ),
        Panel(
            title="Sequences in a step",
            description="The mean size of the batch. Low while requests wait: something other than the batch limits it "
            "(blocks of the cache, the token budget, the pace that a tier asks for).",
            unit="short",
            queries=(Query(expr=_SCOPE.mean(names.STEP_SEQUENCES, by=_EACH), legend="{{engine}}"),),
        ),
        Panel(
            title="Steps per second",
            description="An idle engine makes none.",
            unit="ops",
            queries=(_rate("steps"),),
        ),
        Panel(
            title="Prompt tokens in a step",
            description="Mean number of prompt tokens that a step computes beside its decodes. Many of them make steps "
            "long, and running streams stutter.",
            unit="short",
            queries=(Query(expr=_SCOPE.mean(names.STEP_PREFILL_TOKENS, by=_EACH), legend="{{engine}}"),),
        ),
        Panel(
            title="Decoded tokens in a step",
            description="Mean number of tokens that a step decodes.",
            unit="short",
            queries=(Query(expr=_SCOPE.mean(names.STEP_DECODE_TOKENS, by=_EACH), legend="{{engine}}"),),
        ),
        Panel(
            title="Computed tokens by phase",
            description="Prompt tokens (prefill) and answers' tokens (decode) that were computed; what a preempted "
            "sequence computes again counts again.",
            unit="cps",
            queries=(Query(expr=_SCOPE.rate(names.COMPUTED_TOKENS, by=("phase",)), legend="{{phase}}"),),
            stacked=True,
        ),
    ),
)

_LOAD: Final = Row(
    title="Load",
    panels=(
        Panel(
            title="Running sequences",
            description="Sequences in the running batch.",
            unit="short",
            queries=(Query(expr=_SCOPE.now(status.RUNNING, by=_EACH), legend="{{engine}}"),),
        ),
        Panel(
            title="Waiting sequences",
            description="Sequences that wait inside the engine. Gateways hold back what it cannot begin soon, so this "
            "stays low; the queue is on the board of admission.",
            unit="short",
            queries=(Query(expr=_SCOPE.now(status.WAITING, by=_EACH), legend="{{engine}}"),),
        ),
        Panel(
            title="Attempts",
            description="Attempts at requests: received, completed, ended otherwise, rejected, and taken back by their "
            "gateway (the client left, or the deadline passed).",
            unit="ops",
            queries=tuple(
                Query(expr=_SCOPE.rate(_COUNTERS[name]), legend=legend)
                for name, legend in (
                    ("requests_received", "received"),
                    ("choices_completed", "completed"),
                    ("choices_failed", "ended otherwise"),
                    ("requests_rejected", "rejected"),
                    ("requests_aborted", "taken back"),
                )
            ),
        ),
    ),
)

_CACHE: Final = Row(
    title="Key-value cache",
    panels=(
        Panel(
            title="In use",
            description="Share of the blocks that hold something. At 1 sequences are preempted.",
            unit="percentunit",
            queries=(Query(expr=_SCOPE.now(status.KV_USAGE, by=_EACH, how="max"), legend="{{engine}}"),),
            thresholds=rising(orange=0.9, red=0.98),
            most=1.0,
            width=6,
        ),
        Panel(
            title="Free blocks",
            description="Blocks that are free, of all there are.",
            unit="short",
            queries=(
                Query(expr=_SCOPE.now(status.KV_BLOCKS_FREE, by=_EACH), legend="{{engine}} free"),
                Query(expr=_SCOPE.now(status.KV_BLOCKS, by=_EACH), legend="{{engine}} all"),
            ),
            width=6,
        ),
        Panel(
            title="Preemptions",
            description="Sequences that gave their blocks back to others, and were computed again later: the same "
            "tokens, later. Often: the cache is too small for this load.",
            unit="ops",
            queries=(_rate("preemptions"),),
            thresholds=rising(orange=0.1, red=1.0),
            width=6,
        ),
        Panel(
            title="Prompt tokens found in the cache",
            description="Share of looked-up prompt tokens that were there already, of another request's.",
            unit="percentunit",
            queries=(
                Query(
                    expr=share(
                        _SCOPE.rate(_COUNTERS["prefix_hits"], by=_EACH),
                        _SCOPE.rate(_COUNTERS["prefix_queries"], by=_EACH),
                    ),
                    legend="{{engine}}",
                ),
            ),
            most=1.0,
            width=6,
        ),
    ),
)

_TROUBLE: Final = Row(
    title="Trouble",
    panels=(
        Panel(
            title="Restarts by cause",
            description="In the period shown. Clean: on order. Signal: killed from outside. Hang: no progress, killed "
            "by the supervisor.",
            unit="short",
            shape=Shape.NUMBER,
            queries=(Query(expr=_SCOPE.grown(status.ENGINE_RESTARTS, by=("cause",)), legend="{{cause}}"),),
            thresholds=(Threshold(at=0.5, color=ORANGE),),
            decimals=0,
            width=12,
            height=6,
        ),
        *(
            Panel(
                title=title,
                description=description,
                unit="short",
                shape=Shape.NUMBER,
                queries=(Query(expr=_SCOPE.grown(_COUNTERS[name]), legend=title.lower()),),
                thresholds=never(0.5),
                decimals=0,
                width=3,
                height=6,
            )
            for name, title, description in (
                (
                    "out_of_memory",
                    "Out of memory",
                    "Steps in the period shown that ran out of memory and were tried again smaller.",
                ),
                (
                    "failed_logits",
                    "Failed logits",
                    "Rows of logits in the period shown that held NaN or infinity; their requests ended.",
                ),
                ("malformed_frames", "Malformed frames", "Frames in the period shown that could not be read."),
                ("clients_too_slow", "Gateways cut off", "In the period shown: gateways that did not read."),
            )
        ),
        Panel(
            title="Exactness",
            description="Whether a request's tokens depend on what else is in the batch, as measured at start: exact "
            "(bit for bit the same) or logical (the same but for rounding).",
            unit="short",
            shape=Shape.TABLE,
            queries=(Query(expr=_SCOPE.now(status.EXACTNESS, by=("engine", "model", "exactness"), how="max")),),
            width=12,
            height=6,
        ),
        Panel(
            title="How the cache is made",
            description="Number and size (in tokens) of each engine's blocks.",
            unit="short",
            shape=Shape.TABLE,
            queries=(
                Query(expr=_SCOPE.now(status.CACHE_CONFIG, by=("engine", "num_gpu_blocks", "block_size"), how="max")),
            ),
            width=12,
            height=6,
        ),
    ),
)

_GPU: Final = Row(
    title="Accelerators (where NVML tells of any)",
    panels=(
        Panel(
            title="Utilisation",
            description="Share of the last moment in which the GPU computed anything. It says nothing about how well.",
            unit="percentunit",
            queries=(Query(expr=_SCOPE.now(status.GPU_UTILIZATION, by=("gpu", "name"), how="max"), legend="{{gpu}}"),),
            most=1.0,
            empty="no GPU",
            width=6,
        ),
        Panel(
            title="Memory",
            description="Memory of each GPU in use, as a share of what it has.",
            unit="percentunit",
            queries=(
                Query(
                    expr=share(
                        _SCOPE.now(status.GPU_MEMORY_USED, by=("gpu", "name")),
                        _SCOPE.now(status.GPU_MEMORY, by=("gpu", "name")),
                    ),
                    legend="{{gpu}}",
                ),
            ),
            most=1.0,
            thresholds=(Threshold(at=0.98, color=RED),),
            empty="no GPU",
            width=6,
        ),
        Panel(
            title="Power",
            description="Power that each GPU draws.",
            unit="watt",
            queries=(Query(expr=_SCOPE.now(status.GPU_POWER, by=("gpu", "name")), legend="{{gpu}}"),),
            empty="no GPU",
            width=4,
        ),
        Panel(
            title="Temperature",
            description="Of each GPU. Above some 85 °C most cards slow themselves down.",
            unit="celsius",
            queries=(Query(expr=_SCOPE.now(status.GPU_TEMPERATURE, by=("gpu", "name"), how="max"), legend="{{gpu}}"),),
            thresholds=rising(orange=80, red=90),
            empty="no GPU",
            width=4,
        ),
        Panel(
            title="Energy per output token",
            description="Energy of all GPUs, also of what idles, divided by all tokens of answers.",
            unit="joule",
            queries=(
                Query(
                    expr=share(
                        _SCOPE.rate(status.GPU_ENERGY),
                        Scope(frozenset()).rate(names.MODEL_TOKENS, 'type="output"'),
                    ),
                    legend="per token",
                ),
            ),
            empty="no GPU",
            width=4,
        ),
    ),
)

BOARD: Final = Board(
    uid="spillway-engines",
    title="Spillway: engine internals",
    description="Steps and batches, the key-value cache, what went wrong in engines, and the accelerators.",
    rows=(_LIFE, _STEPS, _LOAD, _CACHE, _TROUBLE, _GPU),
    scope=_SCOPE,
)
