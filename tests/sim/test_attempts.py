"""A node dies with a request whose effects have not come everywhere: see tests.sim.attempts."""

from functools import partial

import pytest

from tests.sim import attempts
from tests.sim.stories import SEEDS, whole

STORIES = [
    attempts.done_again,
    partial(attempts.done_again, freezes=True),
    attempts.done_by_nobody,
    partial(attempts.asker_has_left, before=True),
    partial(attempts.asker_has_left, before=False),
    attempts.its_proxy_dies,
    attempts.second_dies,
    attempts.second_does_nothing,
    attempts.home_is_not_reached,
    attempts.asked_by_a_node,
    attempts.nobody_is_there_for_it,
]


@pytest.mark.parametrize("seed", [1 + seed for seed in SEEDS])  # from one on in which the far ones miss it
@pytest.mark.parametrize("story", STORIES, ids=lambda value: getattr(value, "__name__", "") or str(value.keywords))
def test_attempts(story, seed):
    story(whole(seed, nodes=3))
