"""Whoever misses something is told: in worlds where all that is said of it comes late, twice, in another order, or not
at all. See tests.balancer.cluster.debt_worlds."""

import pytest

from holdfast.balancer.cluster import debts
from tests.balancer.cluster.debt_worlds import DebtWorld

WORLDS = 300


@pytest.mark.parametrize("most", [debts.MAX_OWED, 1, 2])
def test_nobody_misses_anything_in_silence(monkeypatch, most):
    monkeypatch.setattr(debts, "MAX_OWED", most)
    for seed in range(WORLDS):
        world = DebtWorld(seed)
        world.run()
        assert (world.holes(), world.left()) == ([], 0), f"seed {seed}"
