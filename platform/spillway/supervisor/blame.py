"""Whose fault a death is: the engine's own, or that of a request that was aboard.

Two deaths are one story if the same request was in both running steps: it went from engine to engine, and the pool's
quarantine, not the restart intensity, is what ends it. The first of such deaths is counted when it happens, as nobody
can know yet; it is taken back if all engines of a model, two or more, die of one story within a second. Engines that
die together with nothing in common but the moment have a fault that they share, and those deaths are counted.
"""

from dataclasses import dataclass, field

from spillway_wire.page import Aboard

SAME_STORY_S = 60.0
TOGETHER_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDeath:
    """An engine's death as a witness."""

    at: float
    engine_id: str
    model: str
    aboard: tuple[Aboard, ...]

    @property
    def requests(self) -> frozenset[tuple[str, str]]:
        """(client, request) of every sequence of the running step."""
        return frozenset((client, request) for client, request, _, _ in self.aboard)


@dataclass(slots=True)
class Blame:
    """Remembers the deaths of the last minute. Times in seconds of a monotonic clock."""

    _deaths: list[EngineDeath] = field(default_factory=list)

    def add(self, death: EngineDeath, num_engines: int) -> frozenset[str]:
        """Take note of a death in a model of `num_engines`; return the engines that are not to blame for theirs.

        The dead one is among them if it carried what another death carried too. All of the model's are, from
        `TOGETHER_S` ago, if it was the last of them to die and each carried what another did.
        """
        self._deaths = [known for known in self._deaths if known.at > death.at - SAME_STORY_S]
        alike = [known for known in self._deaths if known.requests & death.requests]
        self._deaths.append(death)
        recent = [known for known in self._deaths if known.model == death.model and known.at > death.at - TOGETHER_S]
        together = {
            known.engine_id
            for known in recent
            if any(known.requests & other.requests for other in recent if other is not known)
        }
        if 1 < num_engines <= len(together):
            return frozenset(together)
        return frozenset({death.engine_id} if alike else ())
