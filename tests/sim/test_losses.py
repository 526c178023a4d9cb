"""What the simulator takes for lost, and what must be there."""

import pytest

from tests.sim.faults import heal
from tests.sim.promises import nodes, set_keys
from tests.sim.store import STORE
from tests.sim.stories import FOREVER, ids, members, until, whole
from tests.sim.world import World

ALONE = {"proxies": 1, "is_alone": True}


def restart(world: World, *processes) -> None:
    for process in processes:
        world.kill(process.id)
    world.run(0.5)
    for process in processes:
        if hasattr(process, "router"):
            world.start_proxy(process.router)
        else:
            world.start_node(process.name)


def test_who_has_never_had_it_can_not_bring_it():
    """A proxy and the only node that had a change die together; another node, which was cut off, lives (seed 39641)."""
    world = whole(**ALONE, nodes=2)
    (proxy,) = world.proxies.values()
    knows, far = nodes(world)
    world.part({far.id}, {proxy.id})
    knows.start_set("key", world.next_number())
    until(world, 5.0, lambda: "key" in knows.node.state and world.checks.is_all_set(), "it is set")
    world.lose(far.id, proxy.id)  # and with it what was on its way
    restart(world, proxy, knows)
    heal(world)
    assert not world.checks.is_all_set()


def test_who_has_it_brings_it():
    world = whole(**ALONE, nodes=1)
    set_keys(world, 3)
    world.be_at_peace(FOREVER)
    restart(world, *world.proxies.values())
    heal(world)
    assert world.checks.is_all_set()


def test_a_pair_that_leaves_without_the_store_takes_it_along():
    """Nobody has taken them out of the record, and nothing of it has come to the next ones (seed 30668)."""
    world = whole(proxies=2, nodes=2)
    set_keys(world, 2)
    pair = members(world)
    world.part({STORE}, ids(pair))
    for proxy in pair:
        proxy.leave()
    for node in nodes(world):
        world.kill(node.id)
    until(world, 10.0, lambda: not world.proxies, "they have left")
    heal(world)
    assert not world.checks.is_all_set()


@pytest.mark.parametrize("victim", range(3))
def test_all_nodes_may_die(victim):
    """And a proxy with them, whichever: more than half of a firm set are left."""
    world = whole(nodes=1)
    set_keys(world, 3)
    restart(world, members(world)[victim], *nodes(world))
    heal(world)
    assert world.checks.is_all_set()


def test_who_was_evicted_has_not_what_came_later():
    """The other one of a pair went on alone, and is killed with all nodes (seed 14724)."""
    world = whole(proxies=2, nodes=1)
    first, second = members(world)
    (node,) = nodes(world)
    world.part({second.id}, {node.id, first.id, STORE})
    until(world, 8.0, lambda: first.cluster.membership.record.ids == (first.id,), "it is evicted")
    node.start_set("key", world.next_number())
    until(world, 5.0, world.checks.is_all_set, "it is set")
    for process in (first, node):
        world.kill(process.id)
    heal(world)
    assert not world.checks.is_all_set()


def test_what_is_lost_without_a_reason_is_found():
    """Two members have it, and the one that goes on forgets it."""
    world = whole(nodes=1)
    set_keys(world, 2)
    keeper, *rest = members(world)
    for proxy in rest:
        del proxy.app.keeper.copy.items["key 1"]
    world.kill(keeper.id)
    world.kill(nodes(world)[0].id)
    until(world, 10.0, lambda: any(p.app.keeper.copy.position[0] > 2 for p in rest), "another keeps the state")
    world.start_node("later")
    world.run(5.0)
    assert "S3" in world.checks.lack()
