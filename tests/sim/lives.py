"""Stories of processes that come and go: joining, leaving, dying, coming back. See tests.sim.stories."""

from functools import partial

from tests.sim.faults import heal
from tests.sim.process import Process
from tests.sim.promises import set_keys
from tests.sim.store import STORE
from tests.sim.stories import FOREVER, ids, members, speak, until
from tests.sim.world import World

ELSEWHERE = tuple(f"tcp://10.0.8.{number}:7510" for number in range(3))


def whoever_dies_is_cleaned_up_everywhere(world: World) -> None:
    """Nothing of a dead proxy is left at the others: not in the record, the list for nodes, the peers."""
    *rest, victim = members(world)
    world.kill(victim.id)
    world.run(world.times.heartbeat_timeout + 2.0)
    for proxy in rest:
        assert victim.id not in proxy.cluster.membership.record.ids
    world.run(world.times.card_ttl + world.times.heartbeat_timeout + world.times.grace + 1.0)
    for proxy in rest:
        assert victim.id not in proxy.cluster.peers
        assert victim.id not in {peer for peer, _, _ in proxy.cluster.membership.peers(proxy.now)}
    heal(world)


def many_behind_one_address(world: World) -> None:
    """Five runs of a proxy at one address, one after another: each is told from the one before."""
    *_, last = members(world)
    router = last.router
    for _ in range(5):
        world.kill(next(proxy.id for proxy in world.proxies.values() if proxy.router == router))
        assert world.start_proxy(router)
        began = world.time
        until(world, 10.0, world.checks.is_whole, "the next one is in the cluster")
        assert world.time - began < 2.0 + world.times.lease_wait, "without waiting for the dead one to be evicted"


def pair_survives_either(world: World) -> None:
    """Of two proxies one is enough, whichever: the store is the tie-break."""
    for _ in range(2):
        first, second = members(world)
        world.kill(first.id)
        until(world, 10.0, world.checks.is_whole, "the other goes on")
        world.start_proxy("tcp://10.0.7.1:7510" if first.router != "tcp://10.0.7.1:7510" else "tcp://10.0.7.2:7510")
        until(world, 10.0, world.checks.is_whole, "there are two again")
        assert second.id in members(world)[0].cluster.membership.record.ids


def split_is_acted_upon(world: World) -> None:
    """Two and one: the minority is fenced and then closes its clients; the majority goes on without it."""
    one, *rest = members(world)
    world.part({one.id}, {STORE, *ids(rest), *world.nodes})
    until(world, world.times.heartbeat_timeout + 1.0, lambda: one.is_fenced, "the minority is fenced")
    until(world, 4.0, lambda: one.has_closed_clients, "it closes its clients")
    assert not any(proxy.is_fenced for proxy in rest)
    assert set(rest[0].cluster.membership.record.ids) == ids(rest)
    assert len(world.acting()) == 1
    heal(world)
    assert one.id in rest[0].cluster.membership.record.ids, "it is back, the same process"


def evicted_proxy_knows_it_and_stops(world: World) -> None:
    """It can still read the store, and finds that the record is without it: it is fenced, and asks to be let in."""
    one, *rest = members(world)
    world.part({one.id}, ids(rest))
    until(world, 6.0, lambda: one.id not in one.cluster.membership.record.ids, "it knows")
    until(world, 2.0, lambda: one.is_fenced, "it is fenced")
    assert not one.cluster.membership.may_grant(one.now)
    heal(world)


def scale_ten_to_three(world: World) -> None:
    """Seven of ten leave within a second. Nobody is taken for lost, and the three remain."""
    proxies = members(world)
    for number, proxy in enumerate(proxies[3:]):
        world.later(0.1 * number, proxy.leave)
    until(world, 6.0, lambda: set(world.proxies) == ids(proxies[:3]) and world.checks.is_whole(), "three are left")
    for proxy in proxies[:3]:
        assert not proxy.is_fenced
        assert proxy.cluster.membership.record.ids == tuple(p.id for p in proxies[:3])


def not_ready_until_joined(world: World) -> None:
    """A newcomer is no member, and grants nothing, while it has not everybody's facts."""
    *_, last = members(world)
    newcomer = world.proxies[world.start_proxy("tcp://10.0.7.1:7510")]
    world.cut |= {(last.id, newcomer.id), (newcomer.id, last.id)}
    for proxy in list(world.proxies.values())[:2]:
        world.cut.add((newcomer.id, proxy.id))  # they can't hear it
    world.run(3.0)
    assert not newcomer.cluster.membership.is_member
    assert not newcomer.cluster.membership.may_grant(newcomer.now)
    world.cut.clear()
    until(world, 2.0, lambda: newcomer.cluster.membership.is_member, "it joins when it can")
    heal(world)


def first_of_a_new_cluster_wipes_nothing(world: World) -> None:
    """All proxies leave, and the first of the next cluster finds the nodes as they are: epochs and versions go on."""
    epoch, version = world.checks.highest_epoch, world.store.record.epoch
    for proxy in list(world.proxies.values()):
        proxy.leave()
    until(world, 10.0, lambda: not world.proxies, "all have left")
    assert world.store.record.epoch > version
    world.start_proxy(world.seeds[-1])
    until(world, 5.0 + 3 * world.times.lease_wait, world.checks.is_whole, "it has founded a cluster")
    assert world.checks.highest_epoch > epoch


def store_hiccup_of_one_refresh(world: World) -> None:
    """The store is away for as long as a card lasts: nothing happens."""
    version = members(world)[0].cluster.membership.record.version
    world.part({STORE}, {*world.proxies})
    world.run(world.times.card_ttl)
    world.cut.clear()
    world.run(5.0)
    assert members(world)[0].cluster.membership.record.version == version
    assert len(world.acting()) == 1


def redis_and_a_proxy_die_together(world: World) -> None:
    """The others go on without a write; the dead one is evicted when the store is back."""
    *rest, victim = members(world)
    world.part({STORE}, {*world.proxies})
    world.kill(victim.id)
    world.run(world.times.takeover_timeout / 3)
    assert len(world.acting()) == 1, "leases need no store"
    world.cut.clear()
    until(world, 5.0, lambda: set(rest[0].cluster.membership.record.ids) == ids(rest), "it is evicted")
    heal(world)


def two_of_three_die_at_once_and_come_back(world: World) -> None:
    """At their addresses: that proves that they are dead, and nobody waits for time to prove it."""
    _, *victims = members(world)
    for victim in victims:
        world.kill(victim.id)
    for victim in victims:
        world.later(0.5, world.start_proxy, victim.router)
    until(world, world.times.card_ttl + 6.0 + world.times.lease_wait, world.checks.is_whole, "whole again")
    assert world.times.takeover_timeout == FOREVER


def every_proxy_is_restarted_in_turn(world: World) -> None:
    """Each by SIGTERM, and the next one when all is well again. A node restarts meanwhile, killed or drained, and the
    state is written all the time."""
    set_keys(world, 5)
    disasters = world.checks.losses.disasters
    for number in range(400):
        world.later(0.05 * number, _write, world)
    for number, proxy in enumerate(members(world)):
        node = world.random.choice(list(world.nodes.values()))
        goes = node.drain if number % 2 else partial(world.kill, node.id)
        world.later(world.random.uniform(0.0, 2.0), goes)
        proxy.leave()
        until(world, 8.0, partial(_has_ended, proxy), "it has left")
        world.start_proxy(proxy.router)
        until(world, 8.0, partial(_has_ended, node), "the node has gone")
        world.start_node(node.name)
        until(world, 15.0, world.checks.is_whole, "all is well")
    heal(world)
    assert world.checks.losses.disasters == disasters, "nothing could be lost"


def _write(world: World) -> None:
    """Have a node set something, if there is one that can."""
    writers = [node for node in world.nodes.values() if node.was_ready and not node.is_draining]
    if writers:
        world.random.choice(writers).start_set(f"key {world.random.randrange(10)}", world.next_number())


def _has_ended(process: Process) -> bool:
    return process.id not in {**process.world.proxies, **process.world.nodes}


def whole_cluster_restarts_elsewhere(world: World) -> None:
    """All proxies die and others begin at other addresses: they found anew when the absence of all is proven."""
    for proxy in list(world.proxies.values()):
        world.kill(proxy.id)
    for place in ELSEWHERE:
        world.later(1.0, world.start_proxy, place)
    world.run(world.times.takeover_timeout * 0.8)
    assert not any(proxy.cluster.membership.is_member for proxy in world.proxies.values())
    world.run(world.times.takeover_timeout * 0.4)
    until(world, 12.0, world.checks.is_whole, "they found a cluster")


def whole_cluster_of_one_host_restarts_elsewhere(world: World) -> None:
    """There the deaths are known: nobody waits for time to prove them, but for the cards of the dead to end."""
    for proxy in list(world.proxies.values()):
        world.kill(proxy.id)
    for place in ELSEWHERE:
        world.start_proxy(place)
    until(world, 2 * world.times.card_ttl + 6.0 + world.times.lease_wait, world.checks.is_whole, "whole again")
    assert world.times.takeover_timeout == FOREVER


def one_of_one_host_goes_on_without_the_others(world: World) -> None:
    """More than half have died at once, but not while they are only frozen."""
    one, *victims = members(world)
    for victim in victims:
        world.freeze(victim.id)
    world.run(3 * world.times.card_ttl)
    assert one.is_fenced
    assert len(one.cluster.membership.record.ids) == 3
    for victim in victims:
        world.kill(victim.id)
    until(world, 2.0 + world.times.card_ttl + 2 * world.times.lease_wait, world.checks.is_whole, "it goes on alone")


def copies_of_a_machine_look_alike(world: World) -> None:
    """A newcomer takes itself to be where all others are, and finds none of their names: they have cards."""
    living = members(world)
    ballot = living[0].cluster.membership.record.ballot
    world.is_copied = True
    newcomer = world.start_proxy(ELSEWHERE[0])
    world.part({newcomer}, ids(living) | {*world.nodes})
    world.run(3 * world.times.card_ttl)
    assert not world.proxies[newcomer].cluster.membership.is_member
    assert living[0].cluster.membership.record.ballot == ballot, "nor was it meanwhile, and taken for dead itself"
    heal(world)


def frozen_proxy_wakes_up_evicted(world: World) -> None:
    """What waited for it is old: nobody counts as heard for that, and it grants nothing."""
    *rest, frozen = members(world)
    world.freeze(frozen.id)
    until(world, 6.0, lambda: frozen.id not in rest[0].cluster.membership.record.ids, "it is evicted")
    world.run(1.0)
    world.part({frozen.id}, {STORE, *ids(rest)})
    world.thaw(frozen.id)
    world.run(0.01)
    assert frozen.cluster.membership.heard_now(frozen.now) == set()
    assert not frozen.cluster.membership.is_quorate(frozen.now)
    heal(world)


def new_process_with_a_dead_masters_id(world: World) -> None:
    """It is another incarnation, so what was granted to the first is not for it."""
    (master,) = world.acting()
    incarnation = world.nodes[master].incarnation
    world.kill(master)
    second = world.start_node(master.partition("#")[0])
    world.run(0.6)
    assert world.nodes[second].acts_until() == float("-inf")
    heal(world)
    record = members(world)[0].cluster.membership.record
    assert record.incarnation != incarnation


def reset_lets_a_minority_go_on(world: World) -> None:
    """The operator's word that the others are dead."""
    one, *victims = members(world)
    for victim in victims:
        world.kill(victim.id)
    until(world, 6.0, lambda: one.is_fenced, "it is fenced")
    world.run(5.0)
    assert one.is_fenced, "and stays so"
    one.reset()
    until(world, 3.0 + 2 * world.times.lease_wait, world.checks.is_whole, "it goes on alone")


def store_forgets_its_last_write(world: World) -> None:
    """Who follows the lost record writes it again."""
    world.start_proxy("tcp://10.0.7.1:7510")
    until(world, 5.0, lambda: len(members(world)) == 4, "it has joined")
    until(world, 5.0, world.checks.is_whole, "all know")
    version = world.store.record.epoch
    world.store.forget()
    assert world.store.record.epoch < version
    until(world, 3.0, lambda: world.store.record.epoch >= version, "it is there again")
    assert len(members(world)) == 4
    heal(world)


def master_drains(world: World) -> None:
    """It stops, says so, and a successor need not wait for its lease."""
    (master,) = world.acting()
    world.nodes[master].drain()
    until(world, 1.5, lambda: bool(world.acting()), "a successor acts")
    assert world.times.lease_wait > 1.5


def slow_full_facts_keep_the_order(world: World) -> None:
    """Facts take longer than several heartbeats; what is published meanwhile follows them, in order."""
    one, other, _ = members(world)
    stream = other.cluster.peers[one.id].stream
    for number in range(300):
        world.later(number * 0.01, speak, world, one)
    world.max_delay, world.is_fifo = 0.4, True
    stream.restart()
    world.run(3.0)
    world.max_delay = 0.005
    heal(world)
    assert stream.counters.repairs >= 2


def restarted_alone_waits_for_the_former_lease(world: World) -> None:
    """The only proxy begins anew at once, and does not see the node to which its former run has just given a lease."""
    (proxy,) = world.proxies.values()
    (master,) = world.acting()
    world.kill(proxy.id)
    world.part({master}, {world.start_proxy(proxy.router)})
    world.run(4 * world.times.lease_wait)
    assert world.acting()
    heal(world)


def restarted_alone_among_those_who_know_nothing(world: World) -> None:
    """The only proxy begins anew, and so do all nodes but the master, which is cut off and comes back later."""
    (proxy,) = world.proxies.values()
    (master,) = world.acting()
    epoch = world.nodes[master].node.epoch
    for node in [node for node in world.nodes if node != master]:
        world.kill(node)
        world.start_node(node.partition("#")[0])
    world.kill(proxy.id)
    world.part({master}, {world.start_proxy(proxy.router)})
    world.run(4 * world.times.lease_wait)
    (next_master,) = world.acting()
    assert world.nodes[next_master].node.epoch > epoch
    heal(world)


def newcomer_knows_of_nobody(world: World) -> None:
    """The only proxy that a node is linked to has just begun, and does not reach the store yet: that it names nobody
    else tells nothing of another one, which lives, and has clients."""
    first, second = members(world)
    clients = [world.start_client() for _ in range(6)]
    until(world, 5.0, lambda: all(client.is_linked for client in clients), "they are connected")
    until(world, 5.0, world.checks.is_whole, "nodes know them")
    world.part({first.id}, set(world.nodes))
    world.kill(second.id)
    newcomer = world.start_proxy(second.router)
    world.part({newcomer}, {STORE})
    linked = world.proxies[newcomer]
    until(world, 5.0, lambda: linked.is_up and len(linked.app.directory.nodes) == len(world.nodes), "they are linked")
    world.run(2.0)
    heal(world)


def who_is_behind_knows_nobody_new(world: World) -> None:
    """One is cut off from the others while a newcomer joins them, and soon is the only one that nodes reach: that it
    does not list the newcomer tells nothing of it."""
    *rest, behind = members(world)
    ballot = behind.cluster.membership.record.ballot
    world.part({behind.id}, {STORE, *ids(rest)})
    newcomer = world.proxies[world.start_proxy("tcp://10.0.7.1:7510")]
    world.part({behind.id}, {newcomer.id})
    until(world, 3.0, lambda: newcomer.listener and newcomer.listener.accepts, "it has joined")
    theirs: list[int] = []
    while not theirs:  # they go where chance wants them
        clients = [world.start_client() for _ in range(8)]
        until(world, 2.0, lambda clients=clients: all(client.is_linked for client in clients), "they are connected")
        theirs = [client.id for client in clients if client.proxy is newcomer]
    knowing = [node for node in world.nodes.values() if node.knows_clients]
    until(world, 2.0, lambda: all(client in node.node.clients for node in knowing for client in theirs), "they know")
    world.part(set(world.nodes), {newcomer.id, *ids(rest)})
    for node in world.nodes:
        for proxy in (newcomer, *rest):
            world.reset(node, proxy.id)
    world.run(0.5)
    assert behind.cluster.membership.record.ballot == ballot
    assert knowing
    assert behind.app.directory.nodes
    heal(world)


def evicted_one_outlives_who_has_evicted_it(world: World) -> None:
    """It is cut off, and its clients are there until it closes them. The one who knows that is another process by
    then, which never knew it."""
    first, second = members(world)
    clients = [world.start_client() for _ in range(6)]
    until(world, 5.0, lambda: all(client.is_linked for client in clients), "they are connected")
    until(world, 5.0, world.checks.is_whole, "nodes know them")
    world.part({first.id}, {STORE, second.id, *world.nodes})
    until(world, 4.0, lambda: second.cluster.membership.record.ids == (second.id,), "it is evicted")
    world.kill(second.id)
    last = world.proxies[world.start_proxy(second.router)]
    world.part({first.id}, {last.id})
    until(world, 4.0, lambda: last.is_up and last.cluster.membership.is_member, "another is at the place of the other")
    world.run(world.times.grace)
    heal(world)
