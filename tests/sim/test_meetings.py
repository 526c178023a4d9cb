"""Who must know of whom before anybody can miss anything."""

import pytest

from holdfast.proxy.cluster.runner import Runner
from tests.sim.checks import Violation
from tests.sim.faults import heal
from tests.sim.promises import answer, nodes, publish
from tests.sim.proxies import SimProxy
from tests.sim.store import STORE
from tests.sim.stories import SEEDS, members, soon, whole
from tests.sim.world import World

SLOW = {"nodes": 2, "node_heartbeat": 1.0}


def newcomer(world: World) -> SimProxy:
    """A member, since just now."""
    proxy = world.proxies[world.start_proxy("tcp://10.0.7.1:7510")]
    soon(world, lambda: proxy.is_up and proxy.cluster.membership.is_member, "it joins")
    return proxy


def join_there(world: World, proxy: SimProxy) -> None:
    """A client does, as soon as it can. Some other node has it join."""
    while True:
        client = world.start_client()
        soon(world, lambda client=client: client.is_linked, "it is connected")
        if client.proxy is proxy:
            assert answer(world, client, "join", "red") == b"joined"
            return
        world.run(0.02)


def newcomer_waits_for_a_node_that_others_have(world: World) -> None:
    """What they say to the node is held up, and it hears of the newcomer a second late."""
    far, _ = nodes(world)
    world.cut |= {(proxy, far.id) for proxy in world.proxies}
    proxy = newcomer(world)
    world.later(1.0, world.mend)
    for number in range(100):
        world.later(0.02 * number, publish, world, far, 1)
    join_there(world, proxy)
    heal(world)


@pytest.mark.parametrize("seed", SEEDS)
def test_newcomer_waits_for_a_node_that_others_have(seed):
    newcomer_waits_for_a_node_that_others_have(whole(seed, **SLOW))


def test_it_is_missed_if_it_does_not(monkeypatch):
    monkeypatch.setattr(Runner, "_lacks_nodes", lambda self: False)
    with pytest.raises(Violation, match="D1"):
        some_wait_for_a_node_that_others_have()


def some_wait_for_a_node_that_others_have():
    for seed in range(1, 11):  # where it is ready before the client comes nothing is missed
        newcomer_waits_for_a_node_that_others_have(whole(seed, **SLOW))


@pytest.mark.parametrize("seed", SEEDS)
def test_who_has_not_noticed_that_it_is_cut_off_has_nothing_for_a_newcomer(seed):
    """It publishes to those that it knows, which have lost it already (seeds 50679, 51723)."""
    world = whole(seed, **SLOW)
    far, _ = nodes(world)
    world.part({far.id}, {*world.proxies})
    for proxy in world.proxies:
        world.lose(far.id, proxy)
    proxy = newcomer(world)
    world.part({far.id}, {*world.proxies})
    join_there(world, proxy)
    publish(world, far, 3)
    world.run(0.1)
    assert far.published == {"red": 3}
    heal(world)


@pytest.mark.parametrize("seed", SEEDS)
def test_newcomer_waits_for_what_is_told_by_those_that_it_hears(seed):
    """Most of the members have the node, but not most of those that can say so (seed 187409)."""
    world = whole(seed, **SLOW)
    far, _ = nodes(world)
    says, says_not, deaf = members(world)
    world.part({far.id}, {says_not.id})
    world.lose(far.id, says_not.id)
    world.cut.add((says.id, far.id))  # it is told of nobody new
    proxy = world.proxies[world.start_proxy("tcp://10.0.7.1:7510")]
    world.part({proxy.id}, {deaf.id, far.id})
    soon(world, lambda: proxy.is_up and proxy.cluster.membership.is_member, "it joins")
    world.part({deaf.id}, {STORE, says.id, says_not.id})
    soon(world, lambda: proxy.listener and proxy.listener.accepts, "it takes clients")
    having = [p for p in (says, says_not, deaf) if far.name in p.app.directory.nodes]
    assert having == [says, deaf]
    assert deaf.id in proxy.cluster.membership.record.ids
    join_there(world, proxy)
    publish(world, far, 3)
    world.run(0.1)
    assert far.published == {"red": 3}
    heal(world)
