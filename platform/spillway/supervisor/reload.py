"""SIGHUP: settings and certificates are read again.

Groups that nothing was built from are taken over, here, in the gateways and in ops; the rest is named. Objectives are
read again, too: those that are still there keep their past, unless `slo.time_scale` changed. Of `limits`,
`max_json_depth` and the kernel's own patience with slow readers count from a gateway's next start. A gateway and ops
show the certificate that the files hold now to every connection from then on.
"""

from collections.abc import Callable
from dataclasses import fields, replace

from spillway.settings import Settings

TAKEN_OVER = frozenset(
    {"drain", "restart", "limits", "generation", "tiers", "tenants", "brownout", "auth", "admission", "slo"}
)
"""Groups of settings that are read anew whenever they are needed."""


def taken_over(before: Settings, after: Settings) -> Settings:
    """Return `before` with what can be taken over of `after`."""
    return replace(before, **{name: getattr(after, name) for name in TAKEN_OVER})


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
            changed = differences(current(), fresh)
            apply(fresh)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a file must not end what runs
            log("reload_failed", error=f"{type(error).__name__}: {error}")
            return
        log(
            "reloaded",
            taken_over=[name for name in changed if name in TAKEN_OVER],
            need_restart=[name for name in changed if name not in TAKEN_OVER],
        )

    return reload


class HangUps:
    """SIGHUP from the first moment on: one that comes while there is nothing to reload yet is heeded when there is."""

    def __init__(self) -> None:
        self._reload: Callable[[], None] | None = None
        self._missed = False

    def hear(self) -> None:
        """Reload, now or as soon as `begin` says how."""
        if self._reload is None:
            self._missed = True
        else:
            self._reload()

    def begin(self, reload: Callable[[], None]) -> None:
        """Heed what was missed, and every further one at once."""
        self._reload = reload
        if self._missed:
            reload()
