"""What gateways are told: which engines there are and which models they serve. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from spillway.runtime import RuntimeFolder
from spillway.supervisor.lifecycle import State
from spillway.supervisor.plan import ModelPlan
from spillway_wire.plane import Member, Membership, ServedModel


@dataclass(frozen=True, slots=True)
class Seat:
    """An engine place at one moment."""

    engine_id: str
    model: str
    incarnation: int
    state: State


def membership(
    version: int,
    seats: Sequence[Seat],
    models: Sequence[ModelPlan],
    runtime: RuntimeFolder,
    *,
    retry_parked_s: float,
) -> Membership:
    """Describe all engines and models. A parked engine is tried every `retry_parked_s`."""
    return Membership(
        version=version,
        members=tuple(
            Member(
                engine_id=seat.engine_id,
                incarnation=seat.incarnation,
                model=seat.model,
                address=runtime.engine_address(seat.engine_id, seat.incarnation),
                status=seat.state,
            )
            for seat in seats
        ),
        models=tuple(
            _served(model, [seat for seat in seats if seat.model == model.name], retry_parked_s) for model in models
        ),
    )


def _served(model: ModelPlan, seats: Sequence[Seat], retry_parked_s: float) -> ServedModel:
    hopeless = all(seat.state in (State.PARKED, State.STOPPED) for seat in seats)
    any_parked = any(seat.state is State.PARKED for seat in seats)
    return ServedModel(
        name=model.name,
        path=model.path,
        aliases=model.aliases,
        num_engines=model.num_active,
        hopeless=hopeless,
        retry_s=retry_parked_s if hopeless and any_parked else None,
    )


def to_promote(model: ModelPlan, seats: Sequence[Seat]) -> tuple[str, ...]:
    """Return the engines on standby that are needed in rotation now."""
    own = [seat for seat in seats if seat.model == model.name]
    num_ready = sum(seat.state is State.READY for seat in own)
    waiting = [seat.engine_id for seat in own if seat.state is State.STANDBY]
    return tuple(waiting[: max(0, model.num_active - num_ready)])
