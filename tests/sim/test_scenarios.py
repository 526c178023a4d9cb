"""Single stories: what went wrong in this system's ancestors, and what is hard in this one."""

import pytest

from tests.sim import lives, stores, stories
from tests.sim.stories import FOREVER, SEEDS, whole

PLAIN = [
    stories.bridge_stays,
    stories.newcomer_that_reaches_only_the_store_founds_nothing,
    stories.lost_message_is_found_by_the_next,
    stories.first_messages_after_subscribing,
    lives.whoever_dies_is_cleaned_up_everywhere,
    lives.many_behind_one_address,
    lives.split_is_acted_upon,
    lives.evicted_proxy_knows_it_and_stops,
    lives.not_ready_until_joined,
    lives.first_of_a_new_cluster_wipes_nothing,
    lives.store_hiccup_of_one_refresh,
    lives.redis_and_a_proxy_die_together,
    lives.frozen_proxy_wakes_up_evicted,
    lives.who_is_behind_knows_nobody_new,
    lives.new_process_with_a_dead_masters_id,
    lives.store_forgets_its_last_write,
    lives.every_proxy_is_restarted_in_turn,
    lives.slow_full_facts_keep_the_order,
    *stores.PLAIN,
]
SPECIAL = [
    (stories.master_is_cut_from_one_proxy_after_another, {"lease": 2.0, "tunnels": False}),
    (
        stories.master_is_cut_from_one_proxy_after_another,
        {"lease": 2.0, "rates": (1.083, 0.925), "node_heartbeat": 0.05, "tunnels": False},
    ),
    (stories.evicted_before_it_is_elected, {"proxies": 5, "lease": 4.0, "tunnels": False}),
    (stories.elected_before_it_is_evicted, {"proxies": 5, "lease": 4.0, "tunnels": False}),
    (stories.one_does_not_hear_of_the_eviction, {"proxies": 3, "takeover": FOREVER, "tunnels": False}),
    (stories.one_does_not_hear_of_the_eviction, {"proxies": 5, "takeover": FOREVER, "tunnels": False}),
    (stories.minority_with_the_store_waits, {"takeover": 12.0}),
    (stories.bridge_of_four, {"proxies": 4}),
    (stories.views_of_equal_size_that_differ, {"proxies": 4}),
    (lives.pair_survives_either, {"proxies": 2}),
    (lives.newcomer_knows_of_nobody, {"proxies": 2}),
    (lives.evicted_one_outlives_who_has_evicted_it, {"proxies": 2}),
    (lives.every_proxy_is_restarted_in_turn, {"nodes": 1}),
    (lives.every_proxy_is_restarted_in_turn, {"proxies": 2}),
    (lives.scale_ten_to_three, {"proxies": 10}),
    (lives.two_of_three_die_at_once_and_come_back, {"takeover": FOREVER}),
    (lives.reset_lets_a_minority_go_on, {"takeover": FOREVER}),
    (lives.master_drains, {"lease": 2.0}),
    (lives.whole_cluster_restarts_elsewhere, {"seeds": lives.ELSEWHERE}),
    (
        lives.whole_cluster_of_one_host_restarts_elsewhere,
        {"is_one_host": True, "takeover": FOREVER, "seeds": lives.ELSEWHERE},
    ),
    (lives.copies_of_a_machine_look_alike, {"is_one_host": True}),
    (lives.one_of_one_host_goes_on_without_the_others, {"is_one_host": True, "takeover": FOREVER}),
    (lives.restarted_alone_among_those_who_know_nothing, {"proxies": 1, "nodes": 2, "is_alone": True}),
    (lives.restarted_alone_waits_for_the_former_lease, {"proxies": 1, "is_alone": True, "lease": 4.0}),
    *stores.SPECIAL,
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("story", PLAIN, ids=lambda story: story.__name__)
def test_story(story, seed):
    story(whole(seed))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("story", "settings"), SPECIAL, ids=lambda value: getattr(value, "__name__", ""))
def test_special_story(story, settings, seed):
    story(whole(seed, **settings))
