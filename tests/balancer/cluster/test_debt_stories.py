"""Whoever misses something is told: in worlds where all that is said of it comes late, twice, in another order, or not
at all. See tests.balancer.cluster.debt_worlds."""

import pytest

from holdfast.balancer.cluster import debts
from tests.balancer.cluster.debt_stories import DebtStory, main

WORLDS = 200
# In which there were holes once: a hello, a number that has come, a session that stands said more than they know.
KNOWN = (1184, 1487, 1760, 1926, 2118, 3461, 14517)


@pytest.mark.parametrize("most", [debts.MAX_OWED, 1, 2])
def test_nobody_misses_anything_in_silence(monkeypatch, most):
    monkeypatch.setattr(debts, "MAX_OWED", most)
    for seed in (*range(WORLDS), *KNOWN):
        world = DebtStory(seed)
        world.run()
        assert (world.holes(), world.left()) == ([], 0), f"seed {seed}"


def test_a_hole_is_seen(monkeypatch, capsys):
    """By who tries many: where nobody waits, whatever has come counts as all of it."""
    monkeypatch.setattr(debts.Debts, "told", lambda self, by, frame, now: debts.Noted([], frame.word))
    assert main(0, 20) == 1
    assert " with holes [" in capsys.readouterr().out
