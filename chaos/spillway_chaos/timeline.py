"""What happened when, from a run's journal. Pure."""

from collections.abc import Iterator

import msgspec

from spillway_chaos.journal import Journal


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the timeline."""

    at_s: float
    """Since the run began."""
    who: str
    what: str


def timeline(found: Journal) -> list[Moment]:
    """Return all of it, in order."""
    return sorted((*_of_drill(found), *_of_evidence(found)), key=lambda moment: moment.at_s)


def _of_drill(found: Journal) -> Iterator[Moment]:
    for phase, at in found.phases.items():
        yield Moment(at_s=at, who="drill", what=phase)
    for step in found.run:
        yield Moment(at_s=step.start, who="drill", what=step.activity)
        if step.problem:
            what = f"{step.activity}: {step.problem}"
            yield Moment(at_s=step.start + step.duration, who="drill", what=what)


def _of_evidence(found: Journal) -> Iterator[Moment]:
    evidence = found.evidence
    if evidence is None:
        return
    for strike in evidence.strikes:
        yield _unix(found, strike.at_unix, "fault", f"{strike.what} hits {strike.id}")
    for alert in evidence.alerts:
        what = f"{alert.severity} {alert.name}"
        yield _unix(found, alert.began, "alert", f"{what} fires")
        if alert.ended is not None:
            yield _unix(found, alert.ended, "alert", f"{what} ends")
    for strike in evidence.strikes[:1]:  # it has both clocks
        offset = strike.at_unix - strike.at
        for change in evidence.changes:
            yield _unix(found, change.at + offset, change.id, f"{change.state}, incarnation {change.incarnation}")


def _unix(found: Journal, at: float, who: str, what: str) -> Moment:
    return Moment(at_s=round(at - found.started_unix, 3), who=who, what=what)
