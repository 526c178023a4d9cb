"""Worlds with a story, told step by step: the tests of scenarios run them, and the mutants must not survive them.

Here: what puts "at most one acts" at risk, who is evicted, what is missed. tests.sim.lives: comings and goings.
"""

import os
from collections.abc import Callable

from tests.sim.faults import heal
from tests.sim.proxies import SimProxy
from tests.sim.store import STORE
from tests.sim.world import World

# Chance makes the same story another one: so many seeds each has in tests.
SEEDS = range(1, 1 + int(os.environ.get("STORY_SEEDS", "1")))
FOREVER = 1000.0  # as takeover_timeout: absence proves nothing in this story


def whole(seed: int = 1, **settings) -> World:
    """A world in which nothing has gone wrong yet, and which has had time to be quiet."""
    world = World(seed, **settings)
    assert world.run(20.0, world.checks.is_whole), "it has come together"
    world.run(2 * world.times.lease_wait)
    return world


def members(world: World) -> list[SimProxy]:
    """In the record's order; the first one is the keeper."""
    record = next(iter(world.proxies.values())).cluster.membership.record
    assert record.keeper == record.ids[0]
    return [world.proxies[proxy] for proxy in record.ids]


def ids(proxies: list[SimProxy]) -> set[str]:
    return {proxy.id for proxy in proxies}


def until(world: World, duration: float, condition, what: str) -> None:
    assert world.run(duration, condition), what


def soon(world: World, condition: Callable[[], object], what: str = "it is so") -> None:
    """As `until`, to a hundredth of a second, within 2 s."""
    for _ in range(200):
        if condition():
            return
        world.run(0.01)
    raise AssertionError(what)


def cut_master(world: World, proxies: list[SimProxy], *, at_once: bool) -> str:
    """Cut the master from these proxies. at_once: they know it, and so do not renew what they think it has."""
    (master,) = world.acting()
    world.part({master}, ids(proxies))
    for proxy in proxies:
        if at_once:
            world.lose(master, proxy.id)
    return master


def others(world: World, master: str) -> set[str]:
    return {node for node in world.nodes if node != master}


def speak(world: World, proxy: SimProxy) -> None:
    proxy.speak()


# --- what puts "at most one acts" at risk -----------------------------------------------------------------------------


def master_is_cut_from_one_proxy_after_another(world: World) -> None:
    """The keeper's own grant has run out long ago when a second one loses the master; that one's stands."""
    keeper, second, third = members(world)
    cut_master(world, [keeper], at_once=True)
    world.run(3 * world.times.lease_wait)
    cut_master(world, [second], at_once=True)
    cut_master(world, [third], at_once=False)
    world.run(3 * world.times.lease_wait)
    heal(world)


def split_behind_the_master(world: World, *, knows_at_once: bool) -> None:
    """Five; two with the master are cut off, and the third that has granted it goes with the others."""
    first, second, third, *far = members(world)
    master = cut_master(world, [first, second], at_once=True)
    world.run(3 * world.times.lease_wait)  # their grants have run out, and the other three keep it master
    assert world.acting() == [master]
    world.part({STORE, first.id, second.id, third.id} | others(world, master), ids(far))
    world.part({STORE, first.id, second.id} | others(world, master), {master})
    cut_master(world, [third], at_once=knows_at_once)
    world.run(4 * world.times.lease_wait)
    assert len(first.cluster.membership.record.ids) == 3
    heal(world)


def evicted_before_it_is_elected(world: World) -> None:
    split_behind_the_master(world, knows_at_once=False)


def elected_before_it_is_evicted(world: World) -> None:
    split_behind_the_master(world, knows_at_once=True)


def one_does_not_hear_of_the_eviction(world: World) -> None:
    """The members that evict have one with them who never learns of it, and who then joins those that were evicted."""
    proxies = members(world)
    far = len(proxies) // 2
    stays, deaf, gone = proxies[: -far - 1], proxies[-far - 1], proxies[-far:]
    (master,) = world.acting()
    world.part(others(world, master), ids([deaf, *gone]))
    until(world, 8.0, lambda: list(deaf.app.directory.nodes) == [master.split("#")[0]], "nobody else can be elected")
    world.part(ids(gone), {STORE, deaf.id, *ids(stays)})
    world.part({master}, ids(stays))
    world.part({STORE}, ids([deaf, *stays]))
    world.run(world.times.heartbeat_timeout + 2.5)  # all of the far are silent, so one write will do
    world.cut |= {(proxy.id, deaf.id) for proxy in stays}
    world.cut -= {pair for proxy in stays for pair in ((STORE, proxy.id), (proxy.id, STORE))}
    until(world, 8.0, lambda: len(stays[0].cluster.membership.record.ids) == len(stays) + 1, "the far are evicted")
    assert len(deaf.cluster.membership.record.ids) == len(proxies), "and one has not heard of it"
    world.part({deaf.id}, ids(stays))
    world.cut -= {pair for proxy in gone for pair in ((proxy.id, deaf.id), (deaf.id, proxy.id))}
    world.run(5 * world.times.lease_wait + 3 * world.times.heartbeat_timeout)
    assert world.acting() == [master]
    heal(world)


def minority_with_the_store_waits(world: World) -> None:
    """It goes on alone when the others have been absent for long; they have stopped by then."""
    one, *rest = members(world)
    (master,) = world.acting()
    world.part({one.id, STORE} | others(world, master), ids(rest) | {master})
    world.run(world.times.takeover_timeout * 0.8)
    assert one.is_fenced
    assert len(one.cluster.membership.record.ids) == 3, "nobody is given up before the time"
    world.run(world.times.takeover_timeout * 0.8 + 3 * world.times.lease_wait)
    assert one.cluster.membership.record.ids == (one.id,)
    heal(world)


# --- who stays, who goes ----------------------------------------------------------------------------------------------


def bridge_stays(world: World) -> None:
    """A - B - C: everybody hears a majority and is heard by one."""
    first, _, third = members(world)
    record = first.cluster.membership.record
    world.part({first.id}, {third.id})
    world.run(10.0)
    for proxy in world.proxies.values():
        assert proxy.cluster.membership.record.ids == record.ids
        assert not proxy.is_fenced
    assert len(world.acting()) == 1
    heal(world)


def bridge_of_four(world: World) -> None:
    """A - B - C - D - B: A is heard by B only, and is the one to go."""
    lonely, bridge, *rest = members(world)
    world.part({lonely.id}, ids(rest))
    world.run(3 * world.times.heartbeat_timeout + 2.0)
    assert set(bridge.cluster.membership.record.ids) == {bridge.id, *ids(rest)}
    until(world, 3.0, lambda: lonely.is_fenced, "the lonely one is fenced")
    assert not any(proxy.is_fenced for proxy in (bridge, *rest))
    heal(world)


def views_of_equal_size_that_differ(world: World) -> None:
    """A - B - C - D - A: everybody hears three, no two hear the same. Nobody is in anybody's way."""
    first, second, third, fourth = members(world)
    version = first.cluster.membership.record.version
    world.part({first.id}, {third.id})
    world.part({second.id}, {fourth.id})
    world.run(10.0)
    for proxy in world.proxies.values():
        assert proxy.cluster.membership.record.version == version
        assert not proxy.is_fenced
    assert len(world.acting()) == 1
    heal(world)


def newcomer_that_reaches_only_the_store_founds_nothing(world: World) -> None:
    record = world.store.record
    everyone = {*world.proxies, *world.nodes}
    newcomer = world.start_proxy("tcp://10.0.7.1:7510")
    world.part({newcomer}, everyone)
    world.run(3 * world.times.heartbeat_timeout)
    assert world.store.record == record
    assert not world.proxies[newcomer].cluster.membership.is_member
    heal(world)


def lost_message_is_found_by_the_next(world: World) -> None:
    """One message of one proxy does not arrive at another. Nobody is evicted for that; the facts are asked for."""
    one, other, _ = members(world)
    version = one.cluster.membership.record.version
    stream = other.cluster.peers[one.id].stream
    world.run(1.0)
    said = one.cluster.voice.sent
    world.cut.add((one.id, other.id))
    speak(world, one)
    world.cut.clear()
    assert one.cluster.voice.sent == said + 1
    repairs = stream.counters.repairs
    until(world, 1.5, lambda: stream.counters.repairs > repairs, "it was repaired")
    assert (stream.counters.gaps, stream.counters.messages_lost) == (1, 1), "counted exactly"
    world.run(3.0)
    assert one.cluster.membership.record.version == version
    heal(world)


def first_messages_after_subscribing(world: World) -> None:
    """A newcomer's subscription becomes live late, while much is said, and then nothing. It ends with all of it."""
    world.subscribing = (1.0, 1.0)
    for proxy in world.proxies.values():
        for number in range(20):
            world.later(number * 0.05, speak, world, proxy)
    world.start_proxy("tcp://10.0.7.1:7510")
    world.run(2.0)
    heal(world)
