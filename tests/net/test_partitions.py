"""Partitions in each shape: who is fenced, who is evicted, how long it takes to heal, and what clients saw.

What holds in all of them (tests.net.trial): every request is answered once, fails with an error that says so, or ends
with its connection; a connection that stands hears each notification that is due, once and in order; each node is told
of each client once; at most one node acts as master; and in the end all are one cluster again, and every node has each
write to the state that was acknowledged.
"""

import pytest
import trio

from tests.net.hosts import both_ways
from tests.net.rows import Row
from tests.net.switch import Rule
from tests.net.trial import ELECTION, HELD, PATIENCE, QUIET, end, measure
from tests.net.world import CLIENTS, CROWD, NODES, REDIS, world

pytestmark = pytest.mark.net

LONG = 15.0  # long enough for TCP to try again only every few seconds, and for the fenced to be forgotten
WEATHER = Rule(delay=0.02, loss=0.02)


async def test_one_proxy_off(network, rows):
    """The host of a proxy reaches nobody any more but its clients."""
    async with world(network) as one:
        await trio.sleep(QUIET)
        since = one.net.cut(["p1"], one.others("p1"))
        row = await end(one, rows, "one proxy off", **await measure(one, since, ["p1"], ["p2", "p3"]))
        assert one.watch.fenced == {"p1"}
        assert row.seen.closed == {"close code 1012": 20}
        assert row.no_master < 0.5  # whoever was master is linked to the two


async def test_one_proxy_off_for_long(network, rows):
    """So long that its clients are told to the nodes as closed while it is away."""
    async with world(network) as one:
        await trio.sleep(QUIET)
        since = one.net.cut(["p1"], one.others("p1"))
        times = await measure(one, since, ["p1"], ["p2", "p3"])
        assert not one.view("p1").ready
        assert one.view("p1").reason == "fenced: hears 1 of 3 proxies"
        moved = lambda: sum(one.progress.joined) == CLIENTS  # noqa: E731
        served = await one.until(moved, PATIENCE) - since
        known = [one.testimony.clients[node] for node in NODES]
        told = await one.until(lambda: all(len(clients) == CLIENTS for clients in known), PATIENCE) - since
        await trio.sleep(LONG - told)
        assert not await one.miscounts(["p2", "p3"])
        note = f"its clients are at others after {served:.1f} s, nodes told of their end after {told:.1f} s; "
        row = await end(one, rows, f"one proxy off for {LONG:.0f} s", note=note, **times)
        assert one.watch.fenced == {"p1"}
        assert row.seen.closed == {"close code 1012": 20}
        assert row.no_master < 0.5


async def test_one_proxy_off_in_bad_weather(network, rows):
    async with world(network) as one:
        hosts = [*one.others(), CROWD]
        one.net.rule([(sender, to) for sender in hosts for to in hosts if sender != to], WEATHER)
        await trio.sleep(QUIET)
        since = one.net.cut(["p1"], one.others("p1"))
        times = await measure(one, since, ["p1"], ["p2", "p3"])
        since = one.net.rule(both_ways(["p1"], one.others("p1")), WEATHER)
        healed = await one.healed(since)
        seen, no_master = await one.finish()
        rows.append(Row("one proxy off; delay 20 ms, loss 2 %", seen, no_master, healed, **times))
        assert one.watch.fenced == {"p1"}
        assert seen.closed == {"close code 1012": 20}


async def test_one_proxy_comes_and_goes(network, rows):
    """Its line is bad: it is off and on again before anybody can be sure."""
    async with world(network) as one:
        await trio.sleep(QUIET)
        for _ in range(4):
            one.net.cut(["p1"], one.others("p1"))
            await trio.sleep(1.5)
            one.net.heal()
            await trio.sleep(1.0)
        row = await end(one, rows, "one proxy off for 1.5 s, four times")
        assert (row.seen.closed, row.seen.errors) == ({}, {})
        assert row.no_master < 0.5


async def test_each_alone(network, rows):
    """No two hosts reach each other: nobody has a majority, so nobody acts."""
    async with world(network) as one:
        await trio.sleep(QUIET)
        version, hosts = one.version(), one.others()
        since = one.net.cut(hosts, hosts)
        times = await measure(one, since, one.proxies)
        assert one.version() == version
        assert not one.master
        row = await end(one, rows, "each host alone", **times)
        assert set(row.seen.closed) == {"close code 1012"}  # some twice, at one that was not yet closed to them


@pytest.mark.parametrize("master", ["one", "two"])
async def test_two_and_one_and_the_store_with_the_two(network, rows, master):
    async with world(network) as one:
        await trio.sleep(QUIET)
        node = one.master if master == "one" else next(name for name in NODES if name != one.master)
        since = one.net.cut(["p1", node], one.others("p1", node))
        row = await end(
            one,
            rows,
            f"two and one; store with the two, master with the {master}",
            **await measure(one, since, ["p1"], ["p2", "p3"]),
        )
        assert one.watch.fenced == {"p1"}
        assert row.seen.closed == {"close code 1012": 20}
        # A new keeper begins an epoch, with the same master if that is still seen.
        assert len({term.node for term in one.testimony.masters.terms()}) == (2 if master == "one" else 1)


@pytest.mark.parametrize("master", ["one", "two"])
async def test_two_and_one_and_the_store_with_the_one(network, rows, master):
    """The two go on without: nothing can be written where the majority is, so nobody is evicted, or elected."""
    async with world(network) as one:
        await trio.sleep(QUIET)
        node = one.master if master == "one" else next(name for name in NODES if name != one.master)
        version = one.version()
        since = one.net.cut(["p1", node, REDIS], one.others("p1", node, REDIS))
        times = await measure(one, since, ["p1"])
        assert one.version() == version
        row = await end(one, rows, f"two and one; store with the one, master with the {master}", **times)
        assert one.watch.fenced == {"p1"}
        assert row.seen.closed == {"close code 1012": 20}
        assert master == "one" or row.no_master < 0.5


async def test_two_and_one_and_all_else_with_the_one(network, rows):
    """The two have the majority, and nothing else; the one has nodes, and must not go on: nobody serves for long."""
    async with world(network) as one:
        await trio.sleep(QUIET)
        version = one.version()
        since = one.net.cut(["p2", "p3"], one.others("p2", "p3"))
        times = await measure(one, since, ["p1"])
        assert one.version() == version
        assert not one.master
        await end(one, rows, "two and one; nodes and store with the one", **times)
        assert one.watch.fenced == {"p1"}


async def test_pair(network, rows):
    """Of two neither is a majority: whoever has the store goes on."""
    async with world(network, proxies=2) as one:
        await trio.sleep(QUIET)
        since = one.net.cut(["p1", "n1"], one.others("p1", "n1"))
        row = await end(one, rows, "pair: A, B and the store", **await measure(one, since, ["p1"], ["p2"]))
        assert row.seen.closed == {"close code 1012": CLIENTS // 2}


async def test_pair_without_its_store(network, rows):
    """Neither can know, so both are fenced; a client finds no place until one of them is back."""
    async with world(network, proxies=2) as one:
        await trio.sleep(QUIET)
        version = one.version()
        one.net.cut([REDIS], one.proxies)
        since = one.net.cut(["p1"], ["p2"])
        times = await measure(one, since, one.proxies)
        assert one.version() == version
        row = await end(one, rows, "pair: A, B, and the store alone", **times)
        assert set(row.seen.closed) == {"close code 1012"}  # some twice, at one that was not yet closed to them


async def test_bridge(network, rows):
    """A-B, B-C: the one in the middle hears both, and neither of them goes. Nodes are on one side, too.

    The master changes if it is at one end and the keeper at the other, who can count only what it hears.
    """
    async with world(network) as one:
        await trio.sleep(QUIET)
        cluster = one.view("p2").cluster
        stays = (one.name(cluster.keeper), cluster.master) not in {("p1", "n3"), ("p3", "n1")}
        version = one.version()
        one.net.cut(["p1", "n1"], ["p3", "n3"])
        await trio.sleep(HELD)
        assert one.version() == version + (not stays)
        assert one.members("p2") == set(one.proxies)
        row = await end(one, rows, "bridge: A-B, B-C")
        assert not one.watch.fenced
        assert row.seen.closed == {}
        assert row.no_master < (0.5 if stays else ELECTION)


async def test_bridge_to_three(network, rows):
    """A-B, B-C-D: A hears half of the four, and only half hear A."""
    async with world(network, proxies=4) as one:
        await trio.sleep(QUIET)
        since = one.net.cut(["p1"], ["p3", "p4"])
        row = await end(one, rows, "bridge: A-B, B-C-D", **await measure(one, since, ["p1"], ["p2", "p3", "p4"]))
        assert one.watch.fenced == {"p1"}
        assert row.seen.closed == {"close code 1012": 15}
