"""What is owed, and answers that come late: see tests.sim.answers."""

import pytest

from tests.sim.answers import (
    an_answer_is_of_what_was_said,
    each_loss_is_waited_for,
    what_was_under_way_looks_no_younger,
)
from tests.sim.stories import SEEDS, whole


@pytest.mark.parametrize("seed", [1 + 3 * seed + number for seed in SEEDS for number in range(3)])
def test_an_answer_is_of_what_was_said(seed):
    an_answer_is_of_what_was_said(whole(seed, proxies=2, nodes=2, lease=4.0, timeout=4.0))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_under_way_looks_no_younger(seed):
    what_was_under_way_looks_no_younger(whole(seed, proxies=3, nodes=2, lease=10.0, timeout=2.0, fence=20.0))


@pytest.mark.parametrize("seed", [1 + 8 * seed + number for seed in SEEDS for number in range(8)])
def test_each_loss_is_waited_for(seed):
    each_loss_is_waited_for(whole(seed, proxies=2, nodes=2, lease=10.0, timeout=2.0, fence=20.0))
