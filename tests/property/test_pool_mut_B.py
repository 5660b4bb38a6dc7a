import sys
sys.path.insert(0, "/work/main/tests/property")
import inspect, textwrap
from types import ModuleType
import spillway.pool.journal as j, spillway.pool.core as c, spillway.pool.casualties as cas, spillway.pool.dispatcher as d
from test_pool_machine import PoolMachine
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
def mutate(mod, cls, name, old, new):
    src = textwrap.dedent(inspect.getsource(getattr(cls, name)))
    assert old in src, (old, src)
    ns = {}
    exec(compile(src.replace(old, new), "mut", "exec"), mod.__dict__, ns)
    setattr(cls, name, ns[name])
M = "release"
if M == "accept": mutate(j, j.Entry, "accept", "if delta.position != known:", "if False:")
if M == "fence": mutate(c, c.PoolCore, "received", "if connection.view.connection is not connection:", "if False:")
if M == "attempt": mutate(c, c.PoolCore, "received", "len(entry.attempts) == delta.attempt", "True")
if M == "release": mutate(cas, cas.Casualties, "died", "self._release(view, ours)", "self._release(view, view.stranded)")
if M == "alone": mutate(d, d.Dispatcher, "dispatch", "self.alone is None and ", "")
def test_mut(pool_world: ModuleType) -> None:
    class Machine(PoolMachine):
        fake = pool_world
    run_state_machine_as_test(Machine, settings=settings(max_examples=400, stateful_step_count=50, deadline=None, database=None))
