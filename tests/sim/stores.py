"""Stories of a store that is away for some, forgets or is emptied, and of proxies that ought not to be let in. See
tests.sim.stories."""

from holdfast.balancer.cluster.changes import STEP
from holdfast.balancer.cluster.keeping import Phase
from tests.sim.faults import heal
from tests.sim.proxies import SimProxy
from tests.sim.store import STORE
from tests.sim.stories import FOREVER, ids, members, others, soon, speak, until
from tests.sim.world import World

PLACE = "tcp://10.0.7.1:7510"
FAR = {"seeds": (PLACE,)}  # nodes know of that place
HALVES = {"proxies": 4, "takeover": FOREVER, "nodes": 2, "timeout": 4.0, "lease": 2.0, "tunnels": False}


def keeper_loses_the_store_and_the_master_dies(world: World) -> None:
    """Only the keeper's way to the store is cut: another member elects, and nobody is evicted for it."""
    keeper, *_ = proxies = members(world)
    world.part({keeper.id}, {STORE})
    (master,) = world.acting()
    world.kill(master)
    patience = world.times.heartbeat_timeout + 2 * world.times.lease_wait + len(proxies) * STEP
    until(world, patience + 1.0, lambda: bool(world.acting()), "another acts")
    assert set(keeper.cluster.membership.record.ids) == ids(proxies)
    assert keeper.cluster.membership.is_keeper
    heal(world)


def newcomer_has_other_settings(world: World) -> None:
    """It grants for longer than the others wait: it is not let in, and knows why."""
    version = world.store.record.epoch
    newcomer = world.proxies[world.start_proxy(PLACE, lease=3 * world.times.lease)]
    until(world, 3 * world.times.discover_timeout, lambda: newcomer.id not in world.proxies, "it has ended")
    assert "election.lease is 3 here and 1 in the cluster" in str(newcomer.error)
    assert world.store.record.epoch == version
    heal(world)


def all_leave_and_others_with_other_settings_come(world: World) -> None:
    """That is how settings are changed: the next cluster has those of its founder, and waits for the last one's leases.

    A node that nobody reaches acts on for as long as the old lease lasts.
    """
    (master,) = world.acting()
    world.part({master}, set(world.proxies))
    for proxy in list(world.proxies.values()):
        world.later(0.0, proxy.leave)
    until(world, 10.0, lambda: not world.proxies, "all have left")
    first = world.start_proxy(PLACE, lease=0.2)
    world.part({master}, {first})
    until(world, 20.0, lambda: bool(world.acting()) and world.acting() != [master], "another acts")
    assert world.proxies[first].cluster.membership.record.agreed.lease == 0.2


def newcomer_takes_all_for_dead(world: World) -> None:
    """It has the store and a node, they have each other: they have stopped when it has waited for long enough."""
    newcomer, node = world.start_proxy(PLACE), world.start_node("far")
    there = {newcomer, node, STORE}
    world.part(there, {*world.proxies, *world.nodes} - there)
    rest = [proxy for proxy in world.proxies.values() if proxy.id != newcomer]
    world.run(world.times.takeover_timeout * 1.2)
    assert not any(proxy.is_fenced for proxy in rest), "they miss nobody"
    assert not any(proxy.cluster.membership.may_grant(proxy.now) for proxy in rest)
    until(world, 3 * world.times.lease_wait, lambda: world.acting() == [node], "the newcomer goes on without them")
    heal(world)


def frozen_one_is_taken_for_dead(world: World) -> tuple[SimProxy, SimProxy]:
    """Of a pair one is frozen, and alone has what was acknowledged: the other is killed with all nodes, and its next
    run takes the frozen one for dead. Returns both, just then."""
    frozen, killed = members(world)
    for node in world.nodes.values():
        node.start_set(f"key of {node.name}", 1)
    until(world, 12.0, world.checks.is_all_set, "something is set")
    world.run(1.0)
    world.freeze(frozen.id)
    world.kill(killed.id)
    for node in list(world.nodes):
        world.kill(node)
    founder = world.proxies[world.start_proxy(killed.router)]
    world.start_node("n9")
    ours = lambda: founder.is_up and founder.cluster.membership.record.ids == (founder.id,)  # noqa: E731
    until(world, world.times.takeover_timeout + 4 * world.times.card_ttl, ours, "it goes on without the frozen one")
    return frozen, founder


def what_a_frozen_one_had_is_given_up_with_a_line(world: World) -> None:
    """It wakes up when a term has begun without what was acknowledged, and says that it is lost."""
    frozen, founder = frozen_one_is_taken_for_dead(world)
    had = frozen.app.keeper.copy.position
    until(world, 5.0, lambda: founder.app.keeper.copy.position[0] > had[0], "a term begins")
    lines: list[str] = []
    world._log = lines.append
    world.thaw(frozen.id)
    until(world, 20.0, lambda: frozen.app.keeper.copy.position == founder.app.keeper.copy.position, "it is in again")
    [line] = [line for line in lines if "state_given_up" in line and "changes=" in line]
    assert f"position={had}" in line
    world._log = None
    heal(world)
    assert not world.checks.is_all_set()


def what_a_frozen_one_has_is_taken_before_a_term_begins(world: World) -> None:
    """It wakes up while nodes are waited for that might have brought it."""
    frozen, founder = frozen_one_is_taken_for_dead(world)
    assert founder.cluster.replication.phase is Phase.RECOVERING
    world.thaw(frozen.id)
    heal(world)
    assert world.checks.is_all_set(), "it is not lost"


def emptied_store_has_its_record_again(world: World) -> None:
    """A newcomer that nobody reaches finds an empty store, and waits: its members write the record again."""
    version = world.store.record.epoch
    proxies = members(world)
    until(world, 60.0, lambda: not world.store.is_read_soon(proxies), "it is not read just now")
    world.store.empty()
    newcomer = world.proxies[world.start_proxy(PLACE)]
    world.part({newcomer.id}, set(world.proxies) - {newcomer.id})
    until(world, 3.0, lambda: world.store.record.epoch >= version, "it is there again")
    assert newcomer.cluster.membership.record.ids != (newcomer.id,)
    heal(world)
    assert world.store.record.epoch > version


def emptied_store_and_a_node_that_knows_better(world: World) -> None:
    """The members don't reach the store that was emptied, a newcomer does, with a node that has seen their epoch."""
    (master,) = world.acting()
    rest = set(world.proxies)
    far = others(world, master)
    world.part(rest, {STORE})
    world.store.empty()
    newcomer = world.start_proxy(PLACE)
    world.part({newcomer, *far}, {*rest, master})
    world.part({newcomer}, {STORE})
    linked = world.proxies[newcomer]
    until(world, 5.0, lambda: linked.is_up and len(linked.app.directory.nodes) > 0, "it has such a node")
    world.rejoin(newcomer, STORE)
    world.run(world.times.takeover_timeout / 2 - world.times.lease_wait)
    assert world.acting() == [master]
    heal(world)


def node_hears_later_of_a_later_epoch(world: World) -> None:
    """The members don't reach the store, which is emptied. A newcomer, whose clock is behind, founds another cluster
    on it. A node tells it of no epoch, and hears of theirs after that: it refuses those of this one, which has to
    know of it."""
    rest = members(world)
    for node in list(world.nodes):
        world.kill(node)
    world.part(ids(rest), {STORE})
    world.store.empty()
    newcomer = world.proxies[world.start_proxy(PLACE)]
    newcomer.clock.behind = 3600.0
    world.part({newcomer.id}, ids(rest))
    ours = lambda: newcomer.is_up and newcomer.cluster.membership.record.ids == (newcomer.id,)  # noqa: E731
    until(world, 10.0, ours, "it has founded one")
    node = world.nodes[world.start_node("n9")]
    world.max_delay = 0.3
    undialled = set(ids(rest))
    while undialled:  # it is cut off before any of them has answered, whenever it dials which
        world.run(0.0005)
        dialled = {proxy for proxy in undialled if world.wires_of(node.id, proxy)}
        world.cut |= {(proxy, node.id) for proxy in dialled}
        undialled -= dialled
    until(world, 3.0, lambda: "n9" in newcomer.app.directory.nodes, "it has said hello")
    theirs = max(proxy.cluster.membership.record.epoch for proxy in rest)
    assert node.node.epoch < theirs
    world.max_delay = 0.005
    for proxy in rest:
        world.rejoin(node.id, proxy.id)
    soon(world, lambda: node.node.epoch == theirs, "it has heard")
    for proxy in rest:
        world.kill(proxy.id)
    heal(world)
    assert newcomer.cluster.membership.record.epoch > theirs


def one_can_not_be_asked(world: World) -> None:
    """What it says comes, but it hears nobody, and so answers nobody. It is not a member to count on: it is evicted."""
    one, *rest = members(world)
    world.part({one.id}, ids(rest))
    speak(world, one)
    world.run(0.2)
    for proxy in rest:
        world.cut.discard((one.id, proxy.id))  # with a gap, so its facts are asked for
    until(world, 10.0, lambda: one.id not in rest[0].cluster.membership.record.ids, "it is evicted")
    until(world, 2.0, lambda: one.is_fenced, "and fenced")
    heal(world)


def halves_and_a_store_that_forgets(world: World) -> None:
    """Two and two; the store takes the word of one half, forgets it, and takes the other's."""
    proxies = members(world)
    one, other = proxies[:2], proxies[2:]
    (master,) = world.acting()
    here, there = {master, *ids(one)}, {*others(world, master), *ids(other)}
    world.part(here, there)
    world.part({STORE}, ids(other))
    until(world, 15.0, lambda: set(one[0].cluster.membership.record.ids) == ids(one), "one half goes on")
    until(world, 1.0, lambda: all(proxy.cluster.membership.record.halved for proxy in one), "and knows how")
    until(world, 15.0, lambda: all(proxy.cluster.membership.may_grant(proxy.now) for proxy in one), "and grants")
    world.store.forget()
    world.part({STORE}, ids(one))
    world.cut -= {pair for proxy in other for pair in ((STORE, proxy.id), (proxy.id, STORE))}
    until(world, 15.0, lambda: set(other[0].cluster.membership.record.ids) == ids(other), "so does the other half")
    patience = world.times.card_ttl + 3 * world.times.lease_wait
    until(world, patience, lambda: bool(world.acting()) and world.acting() != [master], "with another master")
    heal(world)


def two_at_one_address(world: World) -> None:
    """A newcomer says that it is where a living member is: it ends, and knows why. Nothing changes."""
    *_, living = members(world)
    version = world.store.record.epoch
    newcomer = world.proxies[world.start_proxy(PLACE, advertised=living.router)]
    world.part({living.id}, {newcomer.id})
    until(world, 4 * world.times.card_ttl, lambda: newcomer.id not in world.proxies, "it has ended")
    assert "cluster.router" in str(newcomer.error)
    assert living.id in world.proxies
    assert world.store.record.epoch == version
    heal(world)


PLAIN = [
    keeper_loses_the_store_and_the_master_dies,
    newcomer_has_other_settings,
    emptied_store_has_its_record_again,
    one_can_not_be_asked,
    two_at_one_address,
]
SPECIAL = [
    (newcomer_takes_all_for_dead, FAR),
    (what_a_frozen_one_had_is_given_up_with_a_line, {"proxies": 2}),
    (what_a_frozen_one_has_is_taken_before_a_term_begins, {"proxies": 2}),
    (all_leave_and_others_with_other_settings_come, {"lease": 8.0, **FAR}),
    (emptied_store_and_a_node_that_knows_better, {"takeover": 30.0, **FAR}),
    (node_hears_later_of_a_later_epoch, FAR),
    (halves_and_a_store_that_forgets, HALVES),
]
