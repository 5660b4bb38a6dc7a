"""Steady state: what holds before a drill, and again after."""

import httpx

from spillway_chaos.probes import books
from spillway_chaos.stage.instance import Pool
from spillway_chaos.stage.stage import SETTLED_WITHIN_S, current, idle, whole

_BOOKS = "books"


def ready(within_s: float = 0.0) -> str:
    """Both ports say that a request sent now would be served."""
    instance = current().instance

    def wanted(_: Pool) -> str:
        answers = {"the API": instance.api_get("/ready"), "ops": instance.ops_get("/ready")}
        return "; ".join(f"{who}: {said.text}" for who, said in answers.items() if said.status_code != httpx.codes.OK)

    return instance.until(wanted, within_s)


def is_whole(within_s: float = SETTLED_WITHIN_S) -> str:
    """Every engine and gateway, ops and Redis are ready."""
    return current().instance.until(whole, within_s)


def answers() -> str:
    """A question gets its right answer."""
    try:
        answer = current().instance.count(37, 48)
        said = answer.json()["choices"][0]["message"]["content"].split()
    except (httpx.HTTPError, LookupError, ValueError) as error:
        return f"a question is not answered: {type(error).__name__}"
    wanted = [str(number) for number in range(37, 49)]
    return "" if said == wanted else f"asked to count from 37 to 48, it said {' '.join(said)[:100]!r}"


def nothing_owed(within_s: float = SETTLED_WITHIN_S) -> str:
    """Nothing runs, and all that was held the first time this was asked is held again, and no more."""
    stage = current()
    before = stage.notes.get(_BOOKS)

    def wanted(pool: Pool) -> str:
        wrong = idle(pool)
        if wrong:
            return wrong
        now = books.read(stage.instance.pid, pool, stage.folder / "run")
        if before is None:
            stage.notes[_BOOKS] = now
            return ""
        return books.owed(before, now)

    return stage.instance.until(wanted, within_s)
