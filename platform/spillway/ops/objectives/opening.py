"""The keeper of an ops process, put together from its settings."""

from collections.abc import Callable, Sequence
from pathlib import Path

from spillway.ops.objectives.choosing import objectives_of, profile_of, scale_of
from spillway.ops.objectives.keeper import Keeper
from spillway.ops.objectives.webhooks import Webhooks
from spillway.settings import Settings
from spillway.supervisor.sockets import url_of
from spillway_slo import memory
from spillway_slo.errors import SpecError
from spillway_slo.evaluate import Standing
from spillway_slo.lint import lint
from spillway_slo.loading import PROFILES
from spillway_slo.objective import Objective
from spillway_wire.series_totals import SeriesFolder


def open_keeper(
    settings: Settings,
    state: Path,
    runtime: Path,
    log: Callable[..., None],
    judged: Callable[[Sequence[Standing]], None] = lambda _: None,
) -> Keeper:
    """Return it; nothing runs yet. Objectives that cannot be read are told, and stop nothing.

    `state` and `runtime` are folders.
    """
    objectives, problem = _read(settings, log)
    return Keeper(
        objectives,
        SeriesFolder(runtime),
        scale=scale_of(settings),
        profile=_whole(profile_of(settings)),
        problem=problem,
        file=state / memory.FILE_NAME,
        webhooks=Webhooks(settings.slo.webhooks, external_url=_external_url(settings), log=log),
        log=log,
        judged=judged,
    )


def reload_keeper(keeper: Keeper, settings: Settings, log: Callable[..., None]) -> None:
    """Take over other objectives and receivers. Objectives that cannot be read are told, and change nothing."""
    objectives, problem = _read(settings, log)
    if problem:
        return
    keeper.reload(objectives, scale=scale_of(settings), profile=_whole(profile_of(settings)))
    keeper.webhooks.reload(settings.slo.webhooks, external_url=_external_url(settings))


def _read(settings: Settings, log: Callable[..., None]) -> tuple[tuple[Objective, ...], str]:
    """Return the objectives, and what is wrong with them if there are none for that."""
    try:
        objectives = objectives_of(settings)
    except SpecError as error:
        problem = f"slo.objectives is {settings.slo.objectives!r}: {error}"
        log("objectives_failed", error=problem)
        return (), problem
    for finding in lint(objectives):
        if finding.is_error:
            log("objective_doubtful", objective=finding.objective, finding=finding.name, message=finding.message)
    return objectives, ""


def _external_url(settings: Settings) -> str:
    network = settings.network
    here = url_of(network.ops_host, network.ops_port, tls=network.tls_certificate is not None)
    return settings.slo.external_url or here


def _whole(profile: str) -> str:
    """Return the name of a shipped profile, or a path that means the same from everywhere."""
    return profile if profile in PROFILES else str(Path(profile).absolute())
