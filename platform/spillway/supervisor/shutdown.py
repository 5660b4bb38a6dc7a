"""The orderly end: three phases, each with a bound.

::

    unready     grace_s        not ready, but taking work: load balancers notice
    refusing    timeout_s      no new work; what is in flight goes on, and this step ends with the last of it
    ending      a few seconds  gateways give what is left an error and exit, then engines, Redis, ops

Asked a second time, it does not wait for the first two. What does not end in time is killed.
"""

import asyncio
from collections.abc import Callable, Iterable

from spillway.supervisor.lifecycle import State
from spillway.supervisor.place import Place
from spillway.supervisor.run import Asked
from spillway.supervisor.stop_requests import HURRY, StopRequests
from spillway.supervisor.tree import Tree
from spillway_wire.plane import PhaseKind

GATEWAYS_WITHIN_S = 5.0
"""Error events are small and clients slow."""
ENGINES_WITHIN_S = 5.0
"""A step that runs is finished."""
OTHERS_WITHIN_S = 3.0
_LOOK_S = 0.02
_HURRY = "Ctrl-C or SIGTERM again hurries"


async def shut_down(tree: Tree, stop_requests: StopRequests, log: Callable[..., None]) -> None:
    """End everything in good order; return when no process is left."""
    drain = tree.settings.drain
    if tree.was_ready:
        tree.enter(PhaseKind.UNREADY, message=f"still taking work for {drain.grace_s:g} s; {_HURRY}")
        await stop_requests.within(HURRY, drain.grace_s)
    else:
        tree.enter(PhaseKind.UNREADY)
    num_open = tree.services.num_open
    message = f"open requests may go on for {drain.timeout_s:g} s; {_HURRY}" if num_open else "no request is open"
    tree.enter(PhaseKind.REFUSING, message=message, open_requests=num_open)
    await _empty(tree, stop_requests, drain.timeout_s)
    log("ending", open_requests=tree.services.num_open)
    gateways = list(tree.services.gateways.values())
    for place in gateways:  # the phase tells those that serve; the others would hear of it late
        place.end(Asked.DRAIN if place.state is State.READY else Asked.STOP)
    tree.enter(PhaseKind.ENDING)
    await _end(tree, gateways, GATEWAYS_WITHIN_S, log)
    engines = list(tree.engines.places.values())
    _ask(engines, Asked.STOP)
    await _end(tree, engines, ENGINES_WITHIN_S, log)
    others = [place for place in (tree.services.redis, tree.services.ops) if place is not None]
    for place in others:
        _ask([place], Asked.STOP)
        await _end(tree, [place], OTHERS_WITHIN_S, log)


async def kill(tree: Tree, log: Callable[..., None]) -> None:
    """End everything at once; return when no process is left."""
    await _end(tree, tree.places, 0.0, log)


def _ask(places: Iterable[Place], asked: Asked) -> None:
    for place in places:
        place.end(asked)


async def _empty(tree: Tree, stop_requests: StopRequests, timeout_s: float) -> None:
    """Wait until no request is open, twice in a row: one may have come in before a gateway heard of the phase."""
    num_empty = 0
    try:
        async with asyncio.timeout(timeout_s):
            while num_empty < 2 and not await stop_requests.within(HURRY, _LOOK_S):
                num_empty = 0 if tree.services.num_open else num_empty + 1
    except TimeoutError:
        return


async def _end(tree: Tree, places: list[Place], within_s: float, log: Callable[..., None]) -> None:
    """Wait until all these have ended; kill what has not in time."""
    try:
        async with asyncio.timeout(within_s):
            await _stopped(tree, places)
    except TimeoutError:
        late = [place for place in places if place.state is not State.STOPPED]
        if within_s:
            log("killed_at_end", places=[place.id for place in late])
        _ask(late, Asked.KILL)
        await _stopped(tree, places)


async def _stopped(tree: Tree, places: list[Place]) -> None:
    while any(place.state is not State.STOPPED for place in places):
        await tree.moved()
