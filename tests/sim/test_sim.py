"""A hundred random seeds. `make sim` runs 10,000."""

import pytest

from tests.sim.faults import run_seed


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_nothing_breaks_and_everything_heals(first):
    masters = 0
    for seed in range(first, first + 10):
        masters += run_seed(seed).checks.masters
    assert masters > 6, "there was something to break"


def test_a_seed_replays():
    lines: list[list[str]] = [[], []]
    for log in lines:
        run_seed(7, log.append)
    assert lines[0] == lines[1]
    assert len(lines[0]) > 20
