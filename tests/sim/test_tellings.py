"""What one node is told of clients."""

import pytest

from tests.sim import tellings
from tests.sim.stories import SEEDS, whole

HOST = {"is_one_host": True}
STORIES = [
    (tellings.clients_of_a_dead_proxy, {"proxies": 3}),
    (tellings.clients_of_a_dead_proxy, {"proxies": 3, **HOST}),
    (tellings.clients_of_a_dead_keeper, {"proxies": 3, **HOST}),
    (tellings.clients_of_a_proxy_that_is_started_again, {"proxies": 1, "is_alone": True}),
    (tellings.clients_of_a_proxy_that_is_started_again, {"proxies": 2, **HOST}),
    (tellings.who_has_them_told_dies_as_well, {"proxies": 3, **HOST}),
    (tellings.who_is_told_dies_as_well, {"proxies": 2, "nodes": 4, **HOST}),
    (tellings.frozen_and_back, {"proxies": 3}),
    (tellings.keeper_frozen_amid_an_inheritance, {"proxies": 3, **HOST}),
    (tellings.keeper_frozen_amid_an_inheritance, {"proxies": 3, "nodes": 4, **HOST}),
    (tellings.keeper_wakes_amid_the_next_one_s_telling, {"proxies": 3, **HOST}),
    (tellings.keeper_wakes_amid_the_next_one_s_telling, {"proxies": 3, "nodes": 4, **HOST}),
    (tellings.frozen_while_some_wait_to_be_told, {"proxies": 3}),
    (tellings.frozen_while_some_wait_to_be_told, {"proxies": 3, "nodes": 4}),
    (tellings.frozen_and_wakes_while_others_tell, {"proxies": 3}),
    (tellings.frozen_and_wakes_while_others_tell, {"proxies": 3, "nodes": 4, **HOST}),
    (tellings.all_frozen_while_some_wait_to_be_told, {"proxies": 3}),
    (tellings.cut_off_while_one_leaves, {"proxies": 3, "fence": 10.0}),
    (tellings.proxy_dies_within_a_snapshot, {"proxies": 1, "nodes": 4, "is_alone": True}),
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("story", "settings"), STORIES, ids=lambda value: getattr(value, "__name__", ""))
def test_telling(story, settings, seed):
    story(whole(seed, **settings))
