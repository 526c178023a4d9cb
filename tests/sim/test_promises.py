"""Single stories of what nodes and clients are promised: each was a fault once."""

from functools import partial

import pytest

from tests.sim import promises
from tests.sim.stories import SEEDS, whole

ALONE = {"proxies": 1, "is_alone": True}
ONE_HOST = {**ALONE, "is_one_host": True, "nodes": 2}
LAGGING = {"nodes": 2, "fence": 10.0, "tunnels": False}  # its clients stay for as long as by default
LONG = [
    (promises.burst_is_delivered, {**ALONE, "nodes": 1}),
    (promises.burst_is_delivered, {"proxies": 2}),
    (promises.who_moves_hears_nothing_again, {}),
]
STORIES = [
    (promises.cut_link_holds_no_holes, {**ALONE, "nodes": 1}),
    (promises.reset_link_holds_no_holes, {**ALONE, "nodes": 1}),
    (promises.reset_link_holds_no_holes, {"proxies": 2}),
    (promises.another_way_takes_over, {"nodes": 1}),
    (promises.welcome_that_was_held_up_closes_nobody, {}),
    (promises.owed_by_who_has_died, {}),
    (promises.owed_by_who_has_died, {"proxies": 2, "takeover": 2.0}),
    (promises.owed_by_who_drains, {}),
    (promises.owed_by_who_dies_early, {}),
    (promises.owed_by_who_dies_early, {"is_one_host": True}),
    (partial(promises.owed_by_who_dies_early, freezes=False), {}),
    (partial(promises.owed_by_who_dies_early, seconds=0.7), {"proxies": 2, "takeover": 2.0}),
    (promises.owed_by_who_answers_and_dies, {"proxies": 2, "nodes": 1, "takeover": 2.0}),
    (promises.owed_what_has_found_no_room, {"proxies": 2, "nodes": 1, "takeover": 2.0}),
    (promises.what_has_come_of_the_dead_is_heard, {}),
    (promises.what_has_come_of_the_dead_is_heard, ALONE),
    (promises.owed_by_who_lives, {}),
    (promises.orders_come_before_those_of_the_next, ONE_HOST),
    (promises.orders_of_a_former_master_come_too_late, LAGGING),
    (promises.bad_effects_are_answered, {**ALONE, "nodes": 1}),
    (promises.own_notification_comes_before_the_reply, ALONE),
    (promises.own_notification_comes_before_the_reply, {"proxies": 2}),
    (
        promises.done_by_who_knew_two_proxies_is_not_done_by_who_knows_one,
        {"proxies": 2, "nodes": 1, "tunnels": False, "has_doormen": False},  # a drain would wait for one
    ),
    (promises.last_words_are_heard, ALONE),
    (promises.last_words_are_heard, {"proxies": 2}),
    (promises.deadly_request_ends_two_nodes, ALONE),
    (promises.deadly_request_ends_two_nodes, {"proxies": 2, "nodes": 4}),
    (promises.one_after_the_other, {**ALONE, "nodes": 2, "is_ordered": True}),
    (promises.one_after_the_other, {"proxies": 2, "is_ordered": True}),
    (promises.who_die_together_take_nothing_along, {**ALONE, "nodes": 4}),
    (promises.who_die_together_take_nothing_along, {"proxies": 2, "nodes": 5}),
    (promises.state_survives_a_restart_of_all_proxies, {"proxies": 2, "nodes": 1}),
    (promises.state_survives_the_death_of_all_proxies, {"proxies": 1, "nodes": 1}),
    (promises.state_survives_the_death_of_all_proxies, ALONE),
    (promises.state_survives_where_nobody_refuses, ALONE),
    (promises.acknowledged_set_is_not_undone, {}),
    (promises.who_comes_back_looks_at_what_nodes_have, {"proxies": 2}),
    (promises.reset_link_of_the_master_leaves_the_state_writable, {}),
    (promises.keys_end_with_the_clients_of_the_dead, {}),
    (promises.one_set_is_applied_once, {}),
    (promises.drained_is_drained, {"lease": 4.0}),
    (promises.drained_is_drained, {"lease": 4.0, **ALONE}),
    (promises.version_of_a_set_that_a_snapshot_tells_is_the_key_s, ALONE),
]


@pytest.mark.parametrize(("story", "settings"), LONG, ids=lambda value: getattr(value, "__name__", ""))
def test_long_promise(story, settings):
    """With one seed: it is what is in it that makes it long, not chance."""
    story(whole(1, **settings))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("story", "settings"), STORIES, ids=lambda value: getattr(value, "__name__", ""))
def test_promise(story, settings, seed):
    story(whole(seed, **settings))
