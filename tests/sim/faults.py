"""What goes wrong in a world, at random; and a whole seed: faults, then healing."""

from collections.abc import Callable
from random import Random

from tests.sim.checks import Violation
from tests.sim.store import STORE
from tests.sim.world import World

FAULTY_TIME = 16.0


def new_world(seed: int, log: Callable[[str], None] | None = None) -> World:
    """A world of a size and of settings that the seed decides."""
    random = Random(f"world {seed}")
    lease, timeout = random.choice([0.5, 1.0, 2.0]), random.choice([1.1, 1.5, 2.0])
    world = World(
        seed, proxies=random.choice([1, 2, 3, 3, 3, 4, 5]), nodes=random.choice([1, 2, 3, 3]),
        lease=lease, timeout=timeout, log=log,
    )  # fmt: skip
    world.loss = random.choice([0.0, 0.0, 0.02, 0.1])
    world.max_delay = random.choice([0.005, 0.05, 0.3])
    world.is_fifo = random.random() < 0.7
    world.duplication = random.choice([0.0, 0.0, 0.05])
    world.garbling = random.choice([0.0, 0.0, 0.02])
    world.replay = random.choice([0.0, 0.0, 0.02])
    world.store.answers_lost = random.choice([0.0, 0.02, 0.1])
    return world


def run_seed(seed: int, log: Callable[[str], None] | None = None) -> World:
    """Raises Violation. Returns the world, which is whole again."""
    world = new_world(seed, log)
    run_world(world)
    return world


def run_world(world: World) -> None:
    """Faults, then healing. Raises Violation."""
    random = world.random
    world.run(3.0)
    while world.time < FAULTY_TIME:
        fault(world)
        world.run(random.expovariate(0.8))
    heal(world)


def heal(world: World) -> float:
    """All faults end. Returns how long it took the world to be whole."""
    world.note("HEAL")
    world.cut.clear()
    for who in list(world.frozen):
        world.thaw(who)
    world.loss = world.duplication = world.garbling = world.replay = world.store.answers_lost = 0.0
    world.max_delay, world.is_fifo = 0.005, True
    if not world.proxies:
        world.start_proxy("tcp://10.0.9.1:7510")
    drained = {process for proxy in world.proxies.values() for process in proxy.drained}
    for node in list(world.nodes.values()):
        if node.is_draining or (node.name, node.incarnation) in drained:
            world.kill(node.id)
    if not world.nodes:
        world.start_node("last")
    began, bound = world.time, world.checks.bound()
    if not world.run(bound, world.checks.is_whole):
        raise Violation(f"I6, not whole {bound:.1f} s after the last fault")
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
        router = world.proxies[victim].me.router
        world.kill(victim)
        if random.random() < 0.8:
            place = router if random.random() < 0.6 else f"tcp://10.0.1.{random.randrange(10**6)}:7510"
            world.later(random.uniform(0.1, 5), world.start_proxy, place)


def kill_node(world: World, random: Random) -> None:
    if world.nodes:
        victim = random.choice(world.acting() or list(world.nodes))
        name = world.nodes[victim].name
        world.kill(victim)
        for proxy in world.proxies.values():
            if random.random() < 0.5:
                _lose(world, proxy.id, victim)
        world.later(random.uniform(0, 4), world.start_node, name)


def _lose(world: World, proxy: str, node: str) -> None:
    name, _, incarnation = node.partition("#")
    world.on(proxy, world.proxies[proxy].lose, name, int(incarnation))


def freeze(world: World, random: Random) -> None:
    if _everyone(world):
        victim = random.choice(_everyone(world))
        world.freeze(victim)
        world.later(random.uniform(0.1, 8), world.thaw, victim)


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
                _lose(world, proxy, node)
    world.later(random.uniform(0.5, 6), world.join_again, node)


def cut_keeper(world: World, random: Random) -> None:
    """The keeper, some proxies and some nodes on one side; the store there or not."""
    if not world.proxies:
        return
    keeper = random.choice(list(world.proxies.values())).cluster.membership.record.keeper
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
    """Only while no pair is split: that both may go on then is a known limit."""
    if random.random() < 0.3 and not world.cut:
        world.store.forget()


def mend(world: World, random: Random) -> None:
    world.cut.clear()


def new_proxy(world: World, random: Random) -> None:
    if len(world.proxies) < 6:
        world.start_proxy(f"tcp://10.0.2.{random.randrange(10**6)}:7510")


def leave(world: World, random: Random) -> None:
    awake = [proxy for proxy in world.proxies.values() if proxy.id not in world.frozen and not proxy.is_leaving]
    if len(awake) > 1:
        random.choice(awake).leave()


def drain_node(world: World, random: Random) -> None:
    acting = [node for node in world.acting() if node not in world.frozen]
    if acting:
        node = world.nodes[acting[0]]
        node.drain()
        world.later(random.uniform(1, 4), world.start_node, node.name)
        world.later(random.uniform(1, 4), world.kill, node.id)


def drain_by_operator(world: World, random: Random) -> None:
    if world.nodes and world.proxies:
        node = random.choice(list(world.nodes.values()))
        random.choice(list(world.proxies.values())).drain(node.name)


KINDS = [
    kill_proxy, kill_node, freeze, split, split, cut_one_way, cut_master, cut_master, cut_keeper, cut_keeper,
    lose_store, cut_from_store, store_forgets, mend, mend, mend, new_proxy, leave, drain_node, drain_by_operator,
]  # fmt: skip
