"""Many parts of the state in a small world of faults, which has to find each rule that is taken away."""

import types
from pathlib import Path

import pytest

from holdfast.balancer.cluster import copying, replication
from holdfast.balancer.cluster.replication import Replication
from holdfast.protocols.errors import FrameError
from tests.sim.replicas import Violation, World

SEEDS = 150


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(copying, "PAGE_ITEMS", 2)


@pytest.mark.parametrize("part", range(3))
def test_no_seed_breaks_anything(part):
    for seed in range(part * SEEDS, (part + 1) * SEEDS):
        world = World(seed)
        try:
            world.run()
        except Violation as violation:
            pytest.fail(f"seed {seed}: {violation}")


def test_no_seed_breaks_anything_while_keepers_wait_for_nodes():
    for seed in range(SEEDS):
        World(seed, waits=0.4).run()


def test_no_seed_breaks_anything_where_limits_differ():
    for seed in range(SEEDS):
        World(seed, limits=LIMITS).run()


LIMITS = (1, 2, 3, 1000)
SOURCE = Path(replication.__file__).read_text()
MUTANTS = {
    "half is enough": [("self._quorum - 1]", "(len(held) + 1) // 2 - 1]")],
    "it does not wait for all": [
        ("        if self.waits_for:", "        if 2 * len(self.waits_for) >= len(self._members):")
    ],
    "it begins with what it has": [("if latest and self._lacks(self._held[latest]):", "if not SOURCE:")],
    "no stamp": [
        ("self.copy.begin(self.term, clock)", "self.copy._first = clock"),
        ("        self._held.clear()\n        self.counters.takeovers", "        self.counters.takeovers"),
        ("            self._tell(former, Stamp(*self._stamp))\n", "            pass\n"),
        ("counts = not self._has_begun or position[0] == self.term", "counts = True"),
        ("position[0] == term and self._lacks", "self._lacks"),
    ],
    "an older keeper is obeyed": [
        ("if frame.term == self.term and peer in self._members:", "if SOURCE:"),
        (
            "case Entries() if peer == self._source:\n                    self._take_steps(frame, now)\n",
            "case Entries():\n                    source, self._source = self._source, peer\n"
            "                    self._take_steps(frame, now)\n                    self._source = source\n",
        ),
    ],
    "nodes are told at once": [
        (
            "            self._tell(former, entry)\n",
            "            self._tell(former, entry)\n            self._spill()\n",
        )
    ],
    "late pages count": [("        if not self._lacks(position):\n            return  # a late one\n", "")],
    "nothing is asked again": [("if self._is_behind and now - self._asked_at >= RETRY:", "if not SOURCE:")],
    "heartbeats say nothing": [
        ("        if self._keeps:\n            self._held_by(peer, position, False, now)\n        elif", "        if")
    ],
    "what is held is not looked at": [("self.is_held |= position >= self._held_from", "self.is_held = SOURCE")],
    "a chain with a hole": [("            self._recent.clear()  # from here", "            pass  # from here")],
}


def mutant(changes):
    source = SOURCE
    for before, after in changes:
        assert source.count(before) == 1, before
        source = source.replace(before, after)
    source += (
        "\n\ndef _spill(self):\n    self.keeping.committed(self.uncommitted[-1])\n\n\nReplication._spill = _spill\n"
    )
    module = types.ModuleType("mutant")
    module.__dict__["SOURCE"] = True
    exec(compile(source, replication.__file__, "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("name", MUTANTS)
def test_each_rule_is_needed(name):
    module = mutant(MUTANTS[name])
    with pytest.raises((Violation, FrameError, AssertionError)):
        run_seeds(module.Replication)


def test_what_is_above_ones_own_limits_is_taken():
    module = mutant([("        if is_last:\n", "        if is_last and not is_above(taken.pages, self.copy):\n")])
    module.is_above = lambda pages, copy: len(pages.items) > copy._settings.max_keys
    with pytest.raises(Violation):
        run_seeds(module.Replication, limits=LIMITS)


def run_seeds(cls=Replication, **rules):
    for seed in range(3 * SEEDS):
        World(seed, cls, **rules).run()


def test_confirmed_is_not_firm():
    """All follow the record, and who has the state is not asked: then a later state lacks what was acknowledged."""
    with pytest.raises(Violation, match="orders from"):
        run_seeds(firm_unheld=True)
