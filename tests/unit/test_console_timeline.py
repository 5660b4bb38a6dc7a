"""What happened, from what the supervisor tells and what its status shows."""

from typing import Any

from spillway.ops.console.timeline import KEPT, Timeline
from spillway_wire.plane import EngineDied, EngineLife, EngineStatus, ExitCause, LifePhase, Phase, PhaseKind

S = 1_000_000_000


def timeline(now_s: float = 100.0) -> Timeline:
    return Timeline(wall=lambda: 1000.0 + now_s, clock_ns=lambda: int(now_s * S))


def died(at_s: float = 90.0, **more: Any) -> EngineDied:
    fields: dict[str, Any] = {"cause": ExitCause.SIGNAL, "message": "killed by SIGKILL", "aboard": ()} | more
    return EngineDied(engine_id="engine-0", incarnation=1, detected_ns=int(at_s * S), **fields)


def life(end: EngineStatus = EngineStatus.READY, **more: Any) -> EngineLife:
    phases = (
        LifePhase(name="detect", start_ns=90 * S, end_ns=90 * S),
        LifePhase(name="spawn", start_ns=90 * S, end_ns=92 * S),
        LifePhase(name="load", start_ns=92 * S, end_ns=93 * S),
        LifePhase(name="spawn", start_ns=93 * S, end_ns=94 * S),
    )
    fields: dict[str, Any] = {
        "cause": ExitCause.SIGNAL,
        "asked": False,
        "message": "killed by SIGKILL",
        "phases": phases,
    } | more
    return EngineLife(engine_id="engine-0", model="demo", incarnation=2, end=end, **fields)


def seen(found: Timeline) -> list[tuple[str, str, str]]:
    return [(one.kind, one.tone, one.subject) for one in found.since(0)]


def test_a_death_and_a_return_are_told_when_they_were_with_their_phases() -> None:
    found = timeline()
    found.received(died())
    found.received(life())

    first, second = found.since(0)
    assert (first.kind, first.tone, first.subject, first.at) == ("died", "bad", "engine-0 #1", 1090.0)
    assert first.text == "signal: killed by SIGKILL"
    assert (second.kind, second.tone, second.subject, second.at) == ("returned", "good", "engine-0 #2", 1094.0)
    assert second.phases == (("detect", 0.0), ("spawn", 3.0), ("load", 1.0))
    assert "4.00 s after it died" in second.text


def test_a_story_that_is_told_again_is_known() -> None:
    found = timeline()
    for message in (died(), life(), life()):
        found.received(message)

    assert [kind for kind, *_ in seen(found)] == ["died", "returned"]


def test_an_ops_that_was_not_there_hears_of_the_death_from_the_story() -> None:
    found = timeline()
    found.received(life())

    assert seen(found) == [("died", "bad", "engine-0 #1"), ("returned", "good", "engine-0 #2")]
    assert [one.at for one in found.since(0)] == [1090.0, 1094.0]


def test_what_was_asked_for_is_no_fault() -> None:
    found = timeline()
    found.received(died(cause=ExitCause.CLEAN, message=""))
    found.received(life(asked=True, cause=ExitCause.CLEAN))
    found.received(life(end=EngineStatus.STOPPED, asked=True, cause=ExitCause.CLEAN, phases=()))

    assert [(kind, tone) for kind, tone, _ in seen(found)] == [
        ("stopped", "plain"),
        ("returned", "good"),
        ("stopped", "plain"),
    ]


def test_a_start_and_a_parked_engine_say_so() -> None:
    found = timeline()
    found.received(life(cause=None, message=""))
    found.received(life(end=EngineStatus.PARKED, phases=()))

    assert [kind for kind, *_ in seen(found)] == ["started", "died", "parked"]


def test_phases_of_the_platform_are_told_when_they_change() -> None:
    found = timeline()
    for kind in (PhaseKind.SERVING, PhaseKind.SERVING, PhaseKind.REFUSING):
        found.received(Phase(kind=kind))

    assert [one.text for one in found.since(0)] == ["the platform is refusing"]


def test_ends_of_gateways_and_redis_are_seen_in_the_status_once() -> None:
    found = timeline()
    ended = {"cause": "signal", "message": "killed by SIGKILL", "at": 1080.0, "incarnation": 3}
    status = {
        "gateways": [{"id": "gateway-0", "last_exit": ended}, {"id": "gateway-1", "last_exit": None}],
        "redis": {"id": "redis", "last_exit": ended | {"cause": "clean"}},
        "ops": {"pid": 5},
    }
    for _ in range(3):
        found.looked(status)

    assert seen(found) == [("died", "bad", "gateway-0 #3"), ("stopped", "plain", "redis #3")]
    assert found.since(0)[0].at == 1080.0


def test_silence_and_brownout_are_told_once_each_way() -> None:
    found = timeline()
    for _ in range(2):
        found.silence("the supervisor did not answer")
    for _ in range(2):
        found.looked({})
    for level in (0, 1, 1, 0):
        found.brownout("demo", level, ("short",))

    assert [(one.kind, one.tone, one.text) for one in found.since(0)] == [
        ("silence", "bad", "the supervisor did not answer"),
        ("silence", "good", "the supervisor answers again"),
        ("brownout", "warn", "brownout level 1 (short)"),
        ("brownout", "good", "brownout level 0"),
    ]


def test_it_is_bounded_and_knows_what_is_new() -> None:
    found = timeline()
    for number in range(KEPT + 10):
        found.note("order", str(number))

    assert len(found.since(0)) == KEPT
    assert [one.text for one in found.since(found.number - 2)] == [str(KEPT + 8), str(KEPT + 9)]
