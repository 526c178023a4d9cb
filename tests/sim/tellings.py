"""Stories of what one node is told of clients, whatever becomes of proxies and nodes: all of it is told in the end.

What must hold of each telling is looked at wherever clients come and go, tests.sim.doormen.
"""

from holdfast.balancer.registry import ClientsSnapshot
from tests.sim.doormen import CAME, WENT
from tests.sim.promises import apart, in_channel
from tests.sim.proxies import SimProxy
from tests.sim.stories import members, soon, until
from tests.sim.world import World


def arrive(world: World) -> None:
    """Some are told of as come, and some are just being told of."""
    clients = in_channel(world, 4) if world.is_alone else apart(world, 4)
    until(world, 5.0, lambda: all(client.id in world.doormen.done[CAME] for client in clients), "they are told of")
    more = [world.start_client() for _ in range(4)]
    soon(world, lambda: all(client.is_linked and client.id in world.doormen.begun[CAME] for client in more))


def clients_of(*proxies: SimProxy) -> set[int]:
    return {session.id for proxy in proxies for session in proxy.app.clients.all_sessions()}


def busiest(world: World) -> SimProxy:
    """But for the keeper."""
    return max(members(world)[1:], key=lambda proxy: len(clients_of(proxy)))


def die(world: World, *proxies: SimProxy) -> set[int]:
    """Returns who was there."""
    lost = clients_of(*proxies)
    for proxy in proxies:
        world.kill(proxy.id)
    return lost


def begins(world: World, lost: set[int]) -> None:
    for _ in range(200):
        if lost & world.doormen.begun[WENT].keys():
            return
        world.run(0.05)
    raise AssertionError("somebody is told")


def are_told(world: World, lost: set[int], within: float) -> None:
    """That they came, and then that they went."""
    assert lost
    until(world, within, lambda: lost <= world.doormen.done[WENT], "all are told of as gone")
    assert lost <= world.doormen.done[CAME]
    assert all(world.doormen.begun[WENT][client][0] for client in lost), "marked: nobody knows what the lost one did"


def clients_of_a_dead_proxy(world: World) -> None:
    arrive(world)
    are_told(world, die(world, busiest(world)), world.times.sleep + 15.0)


def clients_of_a_dead_keeper(world: World) -> None:
    arrive(world)
    keeper = members(world)[0]
    while not clients_of(keeper):
        arrive(world)
    are_told(world, die(world, keeper), world.times.sleep + 15.0)


def clients_of_a_proxy_that_is_started_again(world: World) -> None:
    """Nobody else is there to find it out."""
    arrive(world)
    proxies = members(world)
    lost = die(world, *proxies)
    for proxy in proxies:
        world.later(1.0, world.start_proxy, proxy.router)
    are_told(world, lost, world.times.takeover_timeout + world.times.sleep + 20.0)


def who_has_them_told_dies_as_well(world: World) -> None:
    arrive(world)
    keeper = members(world)[0]
    lost = die(world, busiest(world))
    begins(world, lost)
    assert not lost <= world.doormen.done[WENT]
    lost |= die(world, keeper)
    are_told(world, lost, 30.0)


def who_is_told_dies_as_well(world: World) -> None:
    arrive(world)
    lost = die(world, busiest(world))
    begins(world, lost)
    first = next(node for node in world.nodes.values() if node.is_doorman)
    world.kill(first.id)
    are_told(world, lost, 20.0)


def frozen_and_back(world: World) -> None:
    """Evicted, and longer away than nodes wait for it: nobody is told that its clients went, who are there."""
    clients = apart(world, 4)
    far = busiest(world)
    there = clients_of(far)
    mine = [client for client in clients if client.id in there]
    until(world, 5.0, lambda: there <= world.doormen.done[CAME], "they are told of as come")
    world.freeze(far.id)
    world.run(world.times.grace + 20.0)
    world.thaw(far.id)
    until(world, 20.0, world.checks.is_whole, "it is in again")
    assert not there & world.doormen.begun[WENT].keys()
    for client in mine:
        client.stays = False
        client.leave()
    until(world, 5.0, lambda: there <= world.doormen.done[WENT], "they are told of as gone")
    assert all(world.doormen.begun[WENT][client] == [False] for client in there), "once"


def crowd(world: World, proxy: SimProxy) -> set[int]:
    """Some come faster to this proxy than they are told of. Returns who waits for that, and nodes know of them."""
    before = clients_of(proxy)
    for _ in range(40):
        world.start_client()
    soon(world, lambda: len(clients_of(proxy) - before) >= 8)
    came = clients_of(proxy)
    heirs = [node.node._parts.clients for node in world.nodes.values() if node.is_doorman]
    soon(world, lambda: all(came <= {id for view in it._views.values() for id in view.clients} for it in heirs))
    waiting = came - world.doormen.begun[CAME].keys()
    assert waiting, "they wait to be told of"
    return waiting


def keeper_frozen_amid_an_inheritance(world: World, *, wakes_at_once: bool = False) -> None:
    """It wakes with what it had taken, when the next one has told all of that; or is just telling it."""
    keeper, *_, other = members(world)
    waiting = crowd(world, other)
    lost = die(world, other)
    begins(world, lost)
    assert waiting - world.doormen.begun[CAME].keys(), "some are not told of yet"
    world.freeze(keeper.id)
    if wakes_at_once:
        begins(world, waiting - world.doormen.begun[CAME].keys())
    else:
        are_told(world, lost, world.times.sleep + 30.0)
    world.thaw(keeper.id)
    until(world, 20.0, world.checks.is_whole, "it is in again")
    are_told(world, lost, 20.0)


def keeper_wakes_amid_the_next_one_s_telling(world: World) -> None:
    keeper_frozen_amid_an_inheritance(world, wakes_at_once=True)


def frozen_while_some_wait_to_be_told(world: World) -> None:
    """For so long that others have told that they came and went."""
    far = members(world)[-1]
    waiting = crowd(world, far)
    world.freeze(far.id)
    are_told(world, waiting, world.times.sleep + 30.0)
    times = {client: len(world.doormen.begun[CAME][client]) for client in waiting}
    world.thaw(far.id)
    until(world, 20.0, world.checks.is_whole, "it is in again")
    world.run(10.0)
    assert all(len(world.doormen.begun[CAME][client]) == times[client] for client in waiting), "not again"


def frozen_and_wakes_while_others_tell(world: World) -> None:
    """What they tell from then on it hears of them."""
    far = members(world)[-1]
    waiting = crowd(world, far)
    world.freeze(far.id)
    for _ in range(round((world.times.sleep + 30.0) / 0.02)):
        if waiting & world.doormen.begun[WENT].keys():
            break
        world.run(0.02)
    assert not waiting <= world.doormen.done[CAME], "they are amid it"
    world.thaw(far.id)
    until(world, 60.0, lambda: waiting <= world.doormen.done[WENT], "all are told of")
    assert waiting <= world.doormen.done[CAME]
    world.run(10.0)


def all_frozen_while_some_wait_to_be_told(world: World) -> None:
    """Nobody has told it meanwhile."""
    proxies = members(world)
    waiting = crowd(world, proxies[-1])
    for proxy in proxies:
        world.freeze(proxy.id)
    world.run(world.times.sleep + 30.0)
    for proxy in proxies:
        world.thaw(proxy.id)
    until(world, 60.0, lambda: waiting <= world.doormen.done[WENT], "all are told of")
    assert waiting <= world.doormen.done[CAME]


def cut_off_while_one_leaves(world: World) -> None:
    """Nothing says later why it left; it is told by others, and marked if it is again."""
    clients = apart(world, 6)
    far = busiest(world)
    there = clients_of(far)
    until(world, 5.0, lambda: there <= world.doormen.done[CAME], "they are told of as come")
    world.part({far.id}, {who.id for who in (*world.proxies.values(), *world.nodes.values())} - {far.id})
    until(world, 10.0, lambda: not far.app.directory.nodes, "it has no node")
    for client in clients:
        if client.id in there:
            client.stays = False
            client.leave()
    are_told(world, there, world.times.sleep + 30.0)
    world.join_again(far.id)
    until(world, 30.0, world.checks.is_whole, "it is in again")
    world.run(10.0)
    assert all(all(world.doormen.begun[WENT][client]) for client in there)


def proxy_dies_within_a_snapshot(world: World) -> None:
    """A node that was frozen has it in part: what others know of who left meanwhile is later."""
    (proxy,) = members(world)
    in_channel(world, 3)
    until(world, 5.0, lambda: clients_of(proxy) <= world.doormen.done[CAME], "they are told of")
    last = next(node for node in world.nodes.values() if node.is_doorman)
    one = world.start_client()
    soon(world, lambda: one.is_linked and one.id in world.doormen.begun[CAME])
    world.freeze(last.id)
    until(world, 20.0, lambda: last.name not in proxy.app.directory.nodes, "its session is lost")
    one.stays = False
    one.leave()
    until(world, 20.0, lambda: one.id in world.doormen.done[WENT], "it is told of")
    lost = clients_of(proxy)
    times = len(world.doormen.begun[WENT][one.id])

    snapshot = proxy.app.registry.snapshot

    def cut_short() -> ClientsSnapshot:
        """The first page, with one client; then the link stands still."""
        pages = snapshot()
        page = [pages.next_page(1)]
        pages.next_page = lambda size: page.pop() if page else None  # type: ignore[method-assign]
        return pages

    proxy.app.registry.snapshot = cut_short  # type: ignore[method-assign]
    world.thaw(last.id)
    views = last.node._parts.clients._views
    soon(world, lambda: any(view.newer for view in views.values()))
    world.kill(proxy.id)
    world.later(1.0, world.start_proxy, proxy.router)
    are_told(world, lost, world.times.takeover_timeout + world.times.sleep + 20.0)
    world.run(10.0)
    assert len(world.doormen.begun[WENT][one.id]) == times, "not again"
