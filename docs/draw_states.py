"""Writes docs/states.md from the tables in the code: `python docs/draw_states.py`. A test holds the page to them."""

from pathlib import Path

from spillway.admission.ledger import breaker, claims
from spillway.pool import lifecycle as request
from spillway.supervisor import lifecycle as place
from spillway_engine import lifecycle as sequence
from spillway_wire.states import diagram

PAGE = Path(__file__).with_name("states.md")

_TEXT = """# States

Drawn from the tables in the code by `python docs/draw_states.py`; an event that a table does not know raises and
changes nothing.

## A process that the supervisor keeps

`platform/spillway/supervisor/lifecycle.py`. Engines go through all of it; gateways, ops and Redis have nothing to load.
`hung` is declared for lack of progress, and followed by a kill. `parked` is for what died too often: it is tried now
and then, while the others go on.

```mermaid
{place}```

## A request in a gateway's pool

`platform/spillway/pool/lifecycle.py`. A request ends exactly once, whatever happens to the engines that work on it.

```mermaid
{request}```

## A gateway's way to Redis

`platform/spillway/admission/ledger/breaker.py`. While it is not closed, quotas are kept locally, on a share.

```mermaid
{breaker}```

## A claim on a tenant's quota

`platform/spillway/admission/ledger/claims.py`. Where it is held, and so where it has to be settled.

```mermaid
{claim}```

## A sequence in an engine

`engine/spillway_engine/lifecycle.py`. A preempted sequence has given its blocks back and computes them again later.

```mermaid
{sequence}```
"""


def page() -> str:
    """Return what docs/states.md has to say."""
    return _TEXT.format(
        place=diagram(place.TRANSITIONS, place.State.STOPPED),
        request=diagram(request.TRANSITIONS, request.State.QUEUED),
        breaker=diagram(breaker.TRANSITIONS, breaker.State.CLOSED),
        claim=diagram(claims.TRANSITIONS, claims.Place.ASKED),
        sequence=diagram(sequence.TRANSITIONS, sequence.Status.WAITING),
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
