"""Which engines and models there are, as membership says, and how far this gateway is with each.

A view is one incarnation of one engine; its successor is another view. What a membership changes is returned, and who
asked acts on it::

    status in membership             the view
    standby, ready, draining         made and connected; only a ready one is routed to, but a standby can be at once
    hung, crashed                    suspected: its requests wait for the verdict, which says who was aboard
    anything else, or not there      gone: its requests go on elsewhere
"""

from dataclasses import dataclass

from spillway.pool.capacity import EngineBook
from spillway.pool.contract import ModelState
from spillway.pool.journal import Entry
from spillway.pool.lifecycle import Event
from spillway.pool.meter import EngineMeter
from spillway.pool.prefix import PrefixMemory
from spillway_wire.messages import Capacity, Exactness, StepOutput, Welcome
from spillway_wire.plane import EngineStatus, Member, Membership, ServedModel

Key = tuple[str, int]
"""(engine id, incarnation)"""
LISTENING = frozenset({EngineStatus.STANDBY, EngineStatus.READY, EngineStatus.DRAINING})
SUSPECTED = frozenset({EngineStatus.HUNG, EngineStatus.CRASHED})
MAX_REMEMBERED_BLOCKS = 16_384
MAX_METERS = 256
"""Engines whose last meter is kept for their successors; the longest unseen makes room."""


class EngineConnection:
    """This gateway's three channels to an engine, from their opening to their end. Entries on it are being served."""

    __slots__ = ("_objectives", "book", "client_id", "entries", "sequences", "view", "welcome")

    def __init__(self, view: "EngineView", client_id: str, welcome: Welcome) -> None:
        self.view = view
        self.client_id = client_id
        self.welcome = welcome
        self.book = EngineBook(welcome.capacity)
        self.entries: dict[str, Entry] = {}
        self.sequences = 0
        """Choices of them without an end."""
        self._objectives: dict[float, int] = {}
        """How many of them have which objective for the time per token."""

    @property
    def objective_s(self) -> float | None:
        """The strictest time per token that something here has as its objective; None: nothing has one."""
        return min(self._objectives) if self._objectives else None

    def hear_step(self, output: StepOutput, *, demand: bool) -> None:
        """Take in what a step says of the engine. `demand`: whether more would go there now."""
        self.book.hear(output.load, output.received)
        if self.view.meter is not None:
            self.view.meter.hear(output, objective_s=self.objective_s, demand=demand)

    def take(self, entry: Entry, now: float) -> None:
        """Begin an attempt here."""
        entry.begin_attempt(self.view.member.engine_id, self.view.member.incarnation, now)
        entry.place = self
        self.entries[entry.request_id] = entry
        self.sequences += entry.num_open
        objective_s = entry.work.tpot_s
        if objective_s is not None:
            self._objectives[objective_s] = self._objectives.get(objective_s, 0) + 1

    def leave(self, entry: Entry) -> None:
        """Let go of a request that ends."""
        del self.entries[entry.request_id]
        entry.place = None
        self.sequences -= entry.num_open
        objective_s = entry.work.tpot_s
        if objective_s is not None:
            self._objectives[objective_s] -= 1
            if not self._objectives[objective_s]:
                del self._objectives[objective_s]

    def give_back(self, entry: Entry, event: Event, why: str, now: float) -> None:
        """End the attempt of a request that goes on elsewhere."""
        self.leave(entry)
        entry.follow_event(event)
        entry.end_attempt(why, now)
        if event is Event.LOSE_ENGINE:
            entry.lost_at = now


class EngineView:
    """One incarnation of an engine."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.connection: EngineConnection | None = None
        self.welcome: Welcome | None = None
        """Of the last connection."""
        self.meter: EngineMeter | None = None
        """What its steps have shown; None until it was connected."""
        self.memory = PrefixMemory(MAX_REMEMBERED_BLOCKS)
        self.client_ids: set[str] = set()
        """Names that this gateway had there: one for each connection."""
        self.stranded: dict[str, Entry] = {}
        """Requests whose connection ended and that wait for the verdict."""
        self.verdict_due: float | None = None
        """When to go on without it."""
        self.turns_away = False
        """It has said that it takes nothing new; membership will say so, too."""
        self.last_chosen = 0

    @property
    def key(self) -> Key:
        """Identity."""
        return self.member.engine_id, self.member.incarnation

    @property
    def routable(self) -> bool:
        """Whether new work may go there."""
        return self.connection is not None and self.member.status is EngineStatus.READY and not self.turns_away

    def __repr__(self) -> str:
        link = "connected" if self.connection is not None else "not connected"
        return f"<EngineView {self.member.engine_id}:{self.member.incarnation} {self.member.status} {link}>"


class ModelView:
    """A served model, and since when none of its engines can be routed to."""

    def __init__(self, served: ServedModel, now: float) -> None:
        self.served = served
        self.unready_since: float | None = now
        self.max_model_len: int | None = None
        self.vocab_size: int | None = None
        self.exactness: Exactness | None = None

    def hear(self, welcome: Welcome) -> None:
        """Keep what an engine says of the model; of lengths the least, of exactness the weakest.

        A request has to fit into the context and, alone, into the cache, where its last token takes no place: its keys
        and values are never computed.
        """
        capacity = welcome.capacity
        length = min(capacity.max_model_len, capacity.num_blocks * capacity.block_size + 1)
        self.max_model_len = length if self.max_model_len is None else min(length, self.max_model_len)
        self.vocab_size = welcome.vocab_size
        if self.exactness is not Exactness.LOGICAL:
            self.exactness = welcome.exactness


@dataclass(frozen=True, slots=True)
class Changes:
    """What a membership brought."""

    new: tuple[EngineView, ...] = ()
    suspected: tuple[EngineView, ...] = ()
    gone: tuple[EngineView, ...] = ()


class Roster:
    """All views."""

    def __init__(self) -> None:
        self.views: dict[Key, EngineView] = {}
        self.models: dict[str, ModelView] = {}
        self._by_model: dict[str, tuple[EngineView, ...]] = {}
        """Made when asked for; forgotten when views come or go."""
        self._version = -1
        self._dead: dict[str, int] = {}
        """Highest incarnation of each engine that was declared dead: an older membership must not revive it."""
        self._meters: dict[str, EngineMeter] = {}
        """Each engine's last."""

    def of(self, model: str) -> tuple[EngineView, ...]:
        """The views that serve `model`."""
        found = self._by_model.get(model)
        if found is None:
            found = tuple(view for view in self.views.values() if view.member.model == model)
            self._by_model[model] = found
        return found

    def clear(self) -> None:
        """Forget all views."""
        self.views.clear()
        self._by_model.clear()

    def update(self, membership: Membership, now: float) -> Changes:
        """Take in a membership; an older one than the last changes nothing."""
        if membership.version <= self._version:
            return Changes()
        self._version = membership.version
        self._by_model.clear()
        models: dict[str, ModelView] = {}
        for served in membership.models:
            model = models[served.name] = self.models.get(served.name) or ModelView(served, now)
            model.served = served
        self.models = models
        members = {
            (member.engine_id, member.incarnation): member
            for member in membership.members
            if member.incarnation > self._dead.get(member.engine_id, -1)
        }
        new, suspected, gone = [], [], []
        for key, member in members.items():
            view = self.views.get(key)
            if view is not None:
                view.member = member
            elif member.status in LISTENING:
                view = self.views[key] = EngineView(member)
                new.append(view)
        for key, view in list(self.views.items()):
            status = members[key].status if key in members else None
            if status in SUSPECTED:
                suspected.append(view)
            elif status not in LISTENING:
                gone.append(self.views.pop(key))
        return Changes(tuple(new), tuple(suspected), tuple(gone))

    def connected(self, key: Key, client_id: str, welcome: Welcome) -> EngineConnection | None:
        """Note that the channels to an engine are open; None if nobody wants them any more."""
        view = self.views.get(key)
        if view is None or view.connection is not None or view.member.status not in LISTENING:
            return None
        view.connection = EngineConnection(view, client_id, welcome)
        view.welcome = welcome
        if view.meter is None:
            view.meter = self._new_meter(key[0], welcome.capacity)
        view.client_ids.add(client_id)
        view.memory.max_blocks = min(view.memory.max_blocks, max(1, welcome.capacity.num_blocks))
        model = self.models.get(view.member.model)
        if model is not None:
            model.hear(welcome)
        return view.connection

    def _new_meter(self, engine_id: str, capacity: Capacity) -> EngineMeter:
        meter = EngineMeter(capacity, self._meters.pop(engine_id, None))
        self._meters[engine_id] = meter
        if len(self._meters) > MAX_METERS:
            del self._meters[next(iter(self._meters))]
        return meter

    def bury(self, key: Key) -> EngineView | None:
        """Take out the view of an incarnation that was declared dead; None if there is none."""
        engine_id, incarnation = key
        self._dead[engine_id] = max(incarnation, self._dead.get(engine_id, -1))
        self._by_model.clear()
        return self.views.pop(key, None)

    def refresh(self, now: float) -> None:
        """Note since when each model has no engine that can be routed to."""
        ready = {view.member.model for view in self.views.values() if view.routable}
        for name, model in self.models.items():
            if name in ready:
                model.unready_since = None
            elif model.unready_since is None:
                model.unready_since = now

    def state(self, name: str) -> ModelState | None:
        """Return what is known of a model, None if it is not served."""
        model = self.models.get(name)
        if model is None:
            return None
        return ModelState(
            name=name,
            num_ready=sum(view.routable for view in self.of(name)),
            num_engines=model.served.num_engines,
            max_model_len=model.max_model_len,
            vocab_size=model.vocab_size,
            exactness=model.exactness,
        )
