"""Stories of what one node is told of clients, whatever becomes of proxies and nodes: all of it is told in the end.

What must hold of each telling is looked at wherever clients come and go, tests.sim.doormen.
"""

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
