"""What has to be true of a request's trace, whatever became of the request. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from spillway.telemetry.tracing.span import Span, SpanKind, StatusCode
from spillway_wire import trace_names as names

_APART_NS: Final = 1_000_000
"""How far the sum of all phases may be from the whole."""


def faults(spans: Sequence[Span]) -> Iterator[str]:
    """Yield what is wrong with a request's trace: its tree, its times, and what the server span says of them."""
    root, *others = spans
    if root.kind is not SpanKind.SERVER:
        yield f"it begins with {root.name!r}, which is no server span"
    if len({span.span_id for span in spans}) < len(spans):
        yield "two spans have one id"
    if {span.trace_id for span in spans} != {root.trace_id}:
        yield "its spans are of several traces"
    known = {span.span_id for span in spans}
    children: dict[bytes, list[Span]] = defaultdict(list)
    for span in others:
        if span.parent_id is None or span.parent_id not in known:
            yield f"{span.name!r} is an orphan"
        else:
            children[span.parent_id].append(span)
    for span in spans:
        if span.end_ns < span.start_ns:
            yield f"{span.name!r} lasts {span.end_ns - span.start_ns} ns"
        yield from _untiled(span, children[span.span_id])
    spent = sum(
        value
        for key, value in root.attributes.items()
        if key.startswith(names.TIME_IN) and isinstance(value, float | int)
    )
    if abs(spent * 1e9 - (root.end_ns - root.start_ns)) > _APART_NS:
        yield f"its phases add up to {spent:.6f} s, and it lasts {root.duration_s:.6f} s"


def _untiled(parent: Span, children: Sequence[Span]) -> Iterator[str]:
    """Yield gaps and overlaps; what several prompts do at a time overlaps by its nature."""
    if not children or any(names.PROMPT in child.attributes for child in children):
        return
    at_ns = parent.start_ns
    for child in sorted(children, key=lambda child: (child.start_ns, child.end_ns)):
        if child.start_ns != at_ns:
            yield f"{child.name!r} in {parent.name!r} begins {child.start_ns - at_ns} ns after what is before it"
        at_ns = child.end_ns
    if at_ns != parent.end_ns:
        yield f"what is in {parent.name!r} ends {parent.end_ns - at_ns} ns before it"


def faults_of_recovery(spans: Sequence[Span]) -> Iterator[str]:
    """Yield what is missing in the trace of a request that outlived its engine."""
    by_prompt: dict[object, list[Span]] = defaultdict(list)
    for span in spans:
        if span.name == names.ATTEMPT:
            by_prompt[span.attributes.get(names.PROMPT)].append(span)
    if not any(len(attempts) > 1 for attempts in by_prompt.values()):
        yield "it has no second attempt"
    for attempts in by_prompt.values():
        attempts.sort(key=lambda span: int(str(span.attributes[names.ATTEMPT_NUMBER])))
        for before, after in pairwise(attempts):
            if before.span_id not in {link.span_id for link in after.links}:
                yield f"attempt {after.attributes[names.ATTEMPT_NUMBER]} has no link to the one before it"
    lost = [span for span in spans if span.name == names.ATTEMPT and span.status is StatusCode.ERROR]
    if not lost:
        yield "no attempt is marked as lost"
    for span in lost:
        if not any(event.name == names.EVENT_ENGINE_LOST for event in span.events):
            yield f"attempt {span.attributes[names.ATTEMPT_NUMBER]} does not say that its engine was lost"
