"""A hundred random seeds. `make sim` runs 10,000."""

import pytest

from tests.sim.faults import heal, run_seed
from tests.sim.promises import apart
from tests.sim.store import STORE
from tests.sim.stories import members, until, whole


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_nothing_breaks_and_everything_heals(first):
    masters = 0
    for seed in range(first, first + 10):
        masters += run_seed(seed).checks.masters
    assert masters > 6, "there was something to break"


def test_a_seed_replays():
    lines: list[list[str]] = [[], []]
    for log in lines:
        run_seed(7, log.append)
    assert lines[0] == lines[1]
    assert len(lines[0]) > 20


def test_nobody_names_a_client_that_no_node_knows():
    """A node has no way to a proxy that it has not heard of, nor can it know of that one's clients (seed 8139)."""
    world = whole(proxies=1, nodes=1)
    (node,) = world.nodes
    world.kill(node)
    client = world.start_client()
    until(world, 5.0, lambda: client.is_linked, "it is there")
    assert world.client_ids() == []
    world.start_node("later")
    client.ask("echo")
    until(world, 5.0, lambda: world.client_ids() == [client.id], "a node has answered it")


def test_who_dials_a_frozen_proxy_that_is_killed_meanwhile_dials_again():
    """Before the dial arrives, or after: else the client waits for ever, and its world is not whole (seed 168889)."""
    world = whole(proxies=1, nodes=1)
    (proxy,) = world.proxies.values()
    world.freeze(proxy.id)
    clients = [world.start_client()]
    world.run(0.1)
    clients += [world.start_client()]
    world.kill(proxy.id)
    world.start_proxy(proxy.router)
    until(world, 5.0, lambda: all(client.is_linked for client in clients), "they are at the next one")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_node_gives_up_a_proxy_that_was_listed_until_just_before(seed):
    """It looks every second who is listed, and counts from then (seed 122322)."""
    world = whole(seed, proxies=2, tunnels=False)
    far, near = members(world)
    clients = apart(world, 2)
    until(world, 5.0, world.checks.is_whole, "nodes know them")
    knowing = [node for node in world.nodes.values() if node.knows_clients]
    theirs = {client.id for client in clients if client.proxy is far}
    world.part({*world.nodes}, {far.id})
    world.run(3.0)
    assert all(theirs <= node.node.clients.keys() for node in knowing), "it is listed by the other one"
    world.part({near.id}, {far.id, STORE, *world.nodes})
    until(world, 12.0, lambda: not any(theirs & node.node.clients.keys() for node in knowing), "it is given up")
    assert knowing
    assert all(client in far.app.registry for client in theirs), "which lives, and has its clients"
    heal(world)
