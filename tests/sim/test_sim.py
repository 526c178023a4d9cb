"""A hundred random seeds. `make sim` runs 10,000."""

import pytest

from tests.sim.faults import run_seed
from tests.sim.stories import until, whole


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
