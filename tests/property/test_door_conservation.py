"""Whatever happens at the door: asked is admitted and refused and left, nothing is open twice, nothing is forgotten."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from spillway.admission.contract import Ask, Band, Objective, Prediction
from spillway.admission.door import Door
from spillway.admission.load.model_load import EngineLoad, ModelLoad, Pace, Waiting
from spillway.pool.contract import Refused
from spillway.settings import LimitSettings, Settings
from spillway_wire.messages import Capacity

CAPACITY = Capacity(max_num_seqs=4, max_num_batched_tokens=256, max_model_len=4096, num_blocks=64, block_size=16)
MOST_QUEUED = 12


class Doorway(RuleBasedStateMachine):
    """Plays a gateway: every request is asked for once, and ends once, whatever comes between."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.number = 0
        self.asked = self.admitted = self.refused = self.left = 0
        self.between: dict[str, Ask] = {}
        self.waiting: dict[str, Ask] = {}
        self.running: dict[str, Ask] = {}

    @initialize(paced=st.booleans(), seed=st.randoms(use_true_random=False))
    def open(self, paced: bool, seed: object) -> None:
        draws = seed.random  # type: ignore[attr-defined]  # a Random
        self.door = Door(Settings(limits=LimitSettings(max_queued_requests=MOST_QUEUED)), draw=draws)
        self.pace = Pace(0.01, 0.001, 0.0005) if paced else None

    def load(self) -> ModelLoad:
        waiting: dict[Band, dict[str, Waiting]] = {}
        for one in self.waiting.values():
            before = waiting.setdefault(one.band, {}).get(one.tenant_id, Waiting(0, 0, 0))
            waiting[one.band][one.tenant_id] = Waiting(
                before.requests + 1, before.sequences + 1, before.prefill_tokens + one.prompt_tokens
            )
        engine = EngineLoad(
            engine_id="e0",
            capacity=CAPACITY,
            sequences=len(self.running),
            free_blocks=64 - 8 * len(self.running),
            prefill_tokens=0,
            limit=4.0,
            pace=self.pace,
        )
        return ModelLoad(engines=(engine,), waiting=waiting, resumed=0, own_running=len(self.running))

    def book(self, name: str, verdict: Prediction | Refused) -> None:
        if isinstance(verdict, Refused):
            self.refused += 1
            assert verdict.should_retry is False or (
                verdict.retry_after_s is not None and 1.0 <= verdict.retry_after_s <= 120.0
            )
            assert verdict.limit is not None
            assert verdict.measured is not None
        else:
            self.admitted += 1
            assert len(self.waiting) < MOST_QUEUED
            self.waiting[name] = self.between.pop(name)

    @rule(
        who=st.tuples(st.sampled_from(["a", "b", "anonymous"]), st.sampled_from(Band)),
        prompt=st.integers(0, 900),
        retry=st.integers(0, 2),
        patience=st.none() | st.floats(-1.0, 5.0),
        straight=st.booleans(),
    )
    def ask(
        self,
        who: tuple[str, Band],
        prompt: int,
        retry: int,
        patience: float | None,
        straight: bool,
    ) -> None:
        tenant, band = who
        self.number += 1
        self.asked += 1
        name = f"r{self.number}"
        one = Ask(
            request_id=name,
            model="m",
            tenant_id=tenant,
            key_id=tenant,
            band=band,
            weight=1.0,
            objective=Objective(ttft_s=1.0, tpot_s=0.1),
            prompt_tokens=prompt,
            output_tokens=20,
            deadline=None if patience is None else self.now + patience,
            retry=retry,
        )
        self.between[name] = one
        if straight:
            verdict = self.door.confirm(one, self.load(), self.now)
            self.book(name, verdict)
        else:
            refused = self.door.precheck(one, self.load(), self.now)
            if refused is None:
                return
            self.book(name, refused)
        if name in self.between:
            del self.between[name]

    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        if self.between:
            name = data.draw(st.sampled_from(sorted(self.between)))
            self.book(name, self.door.confirm(self.between[name], self.load(), self.now))
            self.between.pop(name, None)

    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        names = sorted({*self.between, *self.waiting, *self.running})
        if names:
            name = data.draw(st.sampled_from(names))
            self.left += self.between.pop(name, None) is not None
            self.waiting.pop(name, None)
            self.running.pop(name, None)
            self.door.left(name, self.now)

    @rule(tokens=st.integers(1, 500), first=st.booleans(), data=st.data())
    def finish(self, tokens: int, first: bool, data: st.DataObject) -> None:
        if self.running:
            name = data.draw(st.sampled_from(sorted(self.running)))
            if first:
                self.door.first_token(name, self.now)
            self.door.finished(name, self.now, tokens)
            del self.running[name]

    @rule()
    def dispatch(self) -> None:
        for name in list(self.waiting):
            if len(self.running) < 4:
                self.running[name] = self.waiting.pop(name)
                self.door.dispatched(name, self.now, "e0")

    @rule(seconds=st.floats(0.0, 20.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(late_s=st.floats(0.0, 2.0))
    def lag(self, late_s: float) -> None:
        self.door.lagged(late_s)

    @invariant()
    def counts_add_up(self) -> None:
        if not self.asked:
            return
        facts = self.door.facts(self.now)["m"]
        assert facts["asked"] == self.asked
        assert (facts["admitted"], facts["refused"]) == (self.admitted, self.refused)
        assert facts["left_undecided"] == self.left
        assert facts["open"] == len(self.waiting) + len(self.running)
        assert facts["admitted"] + facts["refused"] + facts["left_undecided"] + len(self.between) == facts["asked"]
        assert 0 <= facts["brownout_level"] <= 3
        assert 127 <= facts["shedding_threshold"] <= 511


TestDoorway = Doorway.TestCase
TestDoorway.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
