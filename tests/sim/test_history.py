"""Worlds in which all channels that nodes publish to have a history: what held without one holds with it."""

import pytest

from tests.sim import faults
from tests.sim.world import World

FIRST, SEEDS = 7000, 100


@pytest.fixture
def _with_history(monkeypatch):
    init = World.__init__
    monkeypatch.setattr(
        World, "__init__", lambda world, *args, **settings: init(world, *args, has_history=True, **settings)
    )


@pytest.mark.usefixtures("_with_history")
def test_worlds_with_history_are_whole_again():
    for seed in range(FIRST, FIRST + SEEDS):
        faults.run_seed(seed)
