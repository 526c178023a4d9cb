"""What goes wrong in a world, at random; and a whole seed: faults, then healing."""

from collections.abc import Callable
from random import Random

from tests.sim.checks import Violation
from tests.sim.proxies import SimProxy
from tests.sim.store import STORE
from tests.sim.world import World


def new_world(seed: int, log: Callable[[str], None] | None = None) -> World:
    """A world of a size and of settings that the seed decides."""
    random = Random(f"world {seed}")
    lease, timeout = random.choice([1.0, 1.0, 1.5, 2.0]), random.choice([1.1, 1.1, 1.5, 2.0])
    is_alone = random.random() < 0.2
    is_large = random.random() < 0.1
    proxies = 1 if is_alone else random.choice([3, 3, 4, 5] if is_large else [1, 2, 2, 2, 3])
    world = World(
        seed, proxies=proxies, nodes=random.choice([2, 3] if is_large else [1, 1, 2, 2, 3]),
        clients=random.choice([1, 2, 3]), lease=lease, timeout=timeout, log=log, is_alone=is_alone,
        is_one_host=seed % 3 == 0, is_ordered=seed % 5 == 0, fence=random.choice([2.0, 2.0, 10.0]),
    )  # fmt: skip
    world.faulty_time = 8.0 if is_large else random.choice([2.0, 3.0, 5.0])
    world.loss = random.choice([0.0, 0.0, 0.02, 0.1])
    world.max_delay = random.choice([0.005, 0.05, 0.3])
    world.is_fifo = random.random() < 0.7
    world.duplication = random.choice([0.0, 0.0, 0.05])
    world.garbling = random.choice([0.0, 0.0, 0.02])
    world.replay = random.choice([0.0, 0.0, 0.02])
    world.pipe = random.choice([8, 64])
    world.store.answers_lost = random.choice([0.0, 0.02, 0.1])
    return world


def run_seed(seed: int, log: Callable[[str], None] | None = None) -> World:
    """Raises Violation. Returns the world, which is whole again."""
    world = new_world(seed, log)
    run_world(world)
    return world


def run_world(world: World) -> None:
    """Faults, then healing, and its end. Raises Violation."""
    try:
        live(world)
    finally:
        world.close()


def live(world: World) -> None:
    """Faults, then healing. Raises Violation."""
    world.run(1.6)
    end = world.time + world.faulty_time
    while world.time < end:
        fault(world)
        world.run(max(world.random.expovariate(1.2), world.quiet_until - world.time))
    heal(world)


def heal(world: World) -> float:
    """All faults end. Returns how long it took the world to be whole."""
    world.note("HEAL")
    world.is_busy = False
    world.be_at_peace(0.0)
    world.max_delay, world.is_fifo, world.pipe = 0.005, True, 64
    for client in world.clients:
        client.is_still = client.is_slow = False
        client.read()
    if not any(proxy.router in world.seeds and not proxy.is_leaving for proxy in world.proxies.values()):
        world.start_proxy(world.random.choice(world.seeds)) or world.later(3.0, world.start_proxy, world.seeds[0])
    for node in list(world.nodes.values()):
        if node.is_draining or node.id in world.drained:
            world.kill(node.id)
    if not world.nodes:
        world.start_node("last")
    began, bound = world.time, world.checks.bound()
    if not world.run(bound, world.checks.is_whole):
        raise Violation(f"I6, not whole {bound:.1f} s after the last fault, it lacks {world.checks.lack()}")
    return world.time - began


def fault(world: World) -> None:
    """One thing goes wrong, or right."""
    random = world.random
    kind = random.choice(KINDS)
    world.note("FAULT", kind.__name__)
    kind(world, random)


def _everyone(world: World) -> list[str]:
    return [*world.proxies, *world.nodes]


def kill_proxy(world: World, random: Random) -> None:
    if world.proxies:
        victim = random.choice(list(world.proxies))
        router = world.proxies[victim].router
        world.kill(victim)
        if random.random() < 0.8:
            is_same = world.is_alone or random.random() < 0.6
            place = router if is_same else f"tcp://10.0.1.{random.randrange(10**6)}:7510"
            world.later(random.uniform(0.1, 5), world.start_proxy, place)


def kill_node(world: World, random: Random) -> None:
    if world.nodes:
        victim = random.choice(world.acting() or list(world.nodes))
        name = world.nodes[victim].name
        world.kill(victim)
        world.later(random.uniform(0, 4), world.start_node, name)


def restart_all(world: World, random: Random) -> None:
    """Every proxy, or every node, or everything, ends and begins again at its place; in most cases nothing else is
    wrong then, so nothing may be lost."""
    proxies, nodes = random.choice(((True, False), (True, False), (False, True), (True, True)))
    pause = random.choice((0.05, 1.0, 3.0))
    if random.random() < 0.7:
        world.be_at_peace(pause + 6.0)
    for proxy in list(world.proxies.values()) if proxies else []:
        world.kill(proxy.id)
        world.later(pause + random.uniform(0, 0.5), world.start_proxy, proxy.router)
    for node in list(world.nodes.values()) if nodes else []:
        world.kill(node.id)
        world.later(pause + random.uniform(0, 0.5), world.start_node, node.name)


def reset_link(world: World, random: Random) -> None:
    """TCP resets of some of the nodes' connections. The ends notice at different times, or one never does."""
    for wire in random.sample(list(world.wires), min(len(world.wires), random.choice((1, 1, 2, 10)))):
        wire.break_off(who_notices=random.choice(NOTICES))


def hold_up(world: World, random: Random) -> None:
    """Links are frozen for a while, and lose nothing."""
    if world.wires:
        for wire in random.sample(list(world.wires), min(len(world.wires), random.choice((1, 2)))):
            a, b = wire.names
            world.part({a}, {b})
            world.later(random.uniform(0.1, 5.0), world.rejoin, a, b)


def hold_up_proxies(world: World, random: Random) -> None:
    """What one proxy says to another is under way for long."""
    if len(world.proxies) > 1:
        a, b = random.sample(list(world.proxies), 2)
        world.hold_up(a, b)
        world.later(random.choice((1.0, 10.0)) * random.random(), world.let_pass, a, b)


def clients_go(world: World, random: Random) -> None:
    for client in world.clients:
        if random.random() < 0.5:
            client.leave(resets=random.random() < 0.5)


def client_reads_slowly(world: World, random: Random) -> None:
    for client in world.clients:
        if random.random() < 0.3:
            client.is_still = random.random() < 0.5
            client.is_slow = not client.is_still
            world.later(random.uniform(0.5, 4.0), client.go_on)


def burst(world: World, random: Random) -> None:
    """A node publishes far more than there is room for."""
    if world.nodes:
        node = random.choice(list(world.nodes.values()))
        node.burst = random.choice((50, 200))


def freeze(world: World, random: Random) -> None:
    if _everyone(world):
        victim = random.choice(_everyone(world))
        world.freeze(victim)
        world.later(random.uniform(0.1, 8), world.thaw, victim)


def lose_debtor(world: World, random: Random) -> None:
    """A proxy is frozen for so long that nodes give it up, and one of them is killed before it wakes up."""
    if world.proxies and world.nodes:
        proxy, node = random.choice(list(world.proxies)), random.choice(list(world.nodes.values()))
        silence = world.config.node.heartbeat_timeout
        world.freeze(proxy)
        dies_at = silence + random.uniform(0.0, 1.5)
        world.later(dies_at, world.kill, node.id)
        world.later(dies_at + random.uniform(0.1, 3.0), world.thaw, proxy)
        world.later(dies_at + random.uniform(0.1, 3.0), world.start_node, node.name)


def split(world: World, random: Random) -> None:
    """Two sides, the store on one of them; or one that reaches both."""
    ends = [*_everyone(world), STORE]
    side = {end: random.random() < 0.5 for end in ends}
    bridge = random.choice(ends) if random.random() < 0.3 else None
    world.part({e for e in ends if side[e] and e != bridge}, {e for e in ends if not side[e] and e != bridge})


def cut_one_way(world: World, random: Random) -> None:
    ends = [*_everyone(world), STORE]
    world.cut.add((random.choice(ends), random.choice(ends)))


def cut_master(world: World, random: Random) -> None:
    """A node is cut from most proxies; that they notice at once is what puts the leases at risk."""
    if not world.nodes:
        return
    node = random.choice(world.acting() or list(world.nodes))
    for proxy in list(world.proxies):
        if random.random() < 0.7:
            world.part({node}, {proxy})
            if random.random() < 0.8:
                world.lose(node, proxy)
    world.later(random.uniform(0.5, 6), world.join_again, node)


def cut_keeper(world: World, random: Random) -> None:
    """The keeper, some proxies and some nodes on one side; the store there or not."""
    if not world.proxies:
        return
    keeper = world.keeper()
    side = {p for p in world.proxies if p == keeper or random.random() < 0.3}
    side |= {node for node in world.nodes if random.random() < 0.5}
    rest = set(_everyone(world)) - side
    world.part(side, rest | ({STORE} if random.random() < 0.5 else set()))


def lose_store(world: World, random: Random) -> None:
    world.part({STORE}, set(_everyone(world)))


def cut_from_store(world: World, random: Random) -> None:
    if _everyone(world):
        world.cut.add((random.choice(_everyone(world)), STORE))


def store_forgets(world: World, random: Random) -> None:
    """Its last write, or all. Only while nobody is cut off: that there may be two clusters then is a known limit."""
    if random.random() < 0.3 and not world.cut:
        if random.random() < 0.7:
            world.store.forget()
        else:
            world.store.empty()


def store_is_odd(world: World, random: Random) -> None:
    """For a while it answers late, or from the past."""
    world.store.late = random.choice((0.0, 0.2))
    world.store.lag = random.choice((0.0, 0.5))


def mend(world: World, random: Random) -> None:
    world.mend()
    world.store.late = world.store.lag = 0.0


def new_proxy(world: World, random: Random) -> None:
    if len(world.proxies) < 6 and not world.is_alone:
        world.start_proxy(f"tcp://10.0.2.{random.randrange(10**6)}:7510")


def leave(world: World, random: Random) -> None:
    awake = [proxy for proxy in world.proxies.values() if not proxy.is_frozen and not proxy.is_leaving]
    if len(awake) > 1:
        random.choice(awake).leave()


def begin_again(world: World, proxy: SimProxy) -> None:
    """At its place, when it has ended."""
    if not world.start_proxy(proxy.router) and proxy.is_alive and proxy.is_leaving:
        world.later(0.5, begin_again, world, proxy)


def roll(world: World, random: Random) -> None:
    """Every proxy is told to leave, one after the other, and begins again at its place."""
    for number, proxy in enumerate(world.proxies.values()):
        world.later(number * 1.0, proxy.leave)
        world.later(number * 1.0 + 3.5, begin_again, world, proxy)


def skew(world: World, random: Random) -> None:
    """A proxy with another lease comes to a cluster that is well: it ends, and changes nothing."""
    if len(world.proxies) > 1 and not world.is_alone and not world.checks.lack_of_cluster():
        world.be_at_peace(2.0)
        odd = world.start_proxy(f"tcp://10.0.3.{random.randrange(10**6)}:7510", lease=3 * world.times.lease)
        world.later(1.5, world.kill, odd)


def drain_node(world: World, random: Random) -> None:
    acting = [node for node in world.acting() if not world.nodes[node].is_frozen]
    if acting:
        node = world.nodes[acting[0]]
        node.drain()
        world.later(random.uniform(3, 4), world.start_node, node.name)


def drain_by_operator(world: World, random: Random) -> None:
    if world.nodes and world.proxies:
        node = random.choice(list(world.nodes.values()))
        random.choice(list(world.proxies.values())).drain(node.name)


NOTICES = ((True, True), (True, True), (True, False), (False, True))
KINDS = [
    kill_proxy, kill_node, lose_debtor, freeze, split, split, cut_one_way, cut_master, cut_master, cut_keeper,
    cut_keeper, lose_store, cut_from_store, store_forgets, store_is_odd, mend, mend, mend, new_proxy, leave, roll,
    skew, drain_node, drain_by_operator, restart_all, reset_link, reset_link, hold_up, hold_up, hold_up_proxies,
    clients_go, client_reads_slowly, burst,
]  # fmt: skip
