"""SIGHUP: the settings are read again. What only this process reads is taken over; the rest is named."""

from collections.abc import Callable
from dataclasses import fields

from spillway.settings import Settings

TAKEN_OVER = frozenset({"drain", "restart"})
"""Groups of settings that only the supervisor reads."""


def differences(before: Settings, after: Settings) -> tuple[str, ...]:
    """Return the settings and groups that differ."""
    return tuple(field.name for field in fields(Settings) if getattr(before, field.name) != getattr(after, field.name))


def reloader(
    current: Callable[[], Settings],
    read: Callable[[], Settings],
    apply: Callable[[Settings], None],
    log: Callable[..., None],
) -> Callable[[], None]:
    """Return the handler of SIGHUP. Settings that cannot be read change nothing."""

    def reload() -> None:
        try:
            fresh = read()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a file must not end what runs
            log("reload_failed", error=f"{type(error).__name__}: {error}")
            return
        changed = differences(current(), fresh)
        apply(fresh)
        log(
            "reloaded",
            taken_over=[name for name in changed if name in TAKEN_OVER],
            need_restart=[name for name in changed if name not in TAKEN_OVER],
        )

    return reload
