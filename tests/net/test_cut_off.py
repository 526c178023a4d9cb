"""What is cut off is not a proxy, or it is one only one way. What holds always is that of test_partitions."""

import pytest
import trio

from tests.net.switch import CUT
from tests.net.trial import HELD, PATIENCE, QUIET, end, measure
from tests.net.world import REDIS, world

pytestmark = pytest.mark.net


@pytest.mark.parametrize("others", ["the proxies", "all"])
@pytest.mark.parametrize("way", ["from", "to"])
async def test_loss_one_way(network, rows, way, others):
    """What a proxy says is lost, or what is said to it: by the other proxies, or by nodes and Redis as well."""
    async with world(network) as one:
        await trio.sleep(QUIET)
        pairs = [("p1", name) for name in (one.others("p1") if others == "all" else ("p2", "p3"))]
        since = one.net.rule(pairs if way == "from" else [(to, sender) for sender, to in pairs], CUT)
        row = await end(
            one,
            rows,
            f"one way: what goes {way} one proxy is lost, {'from' if way == 'to' else 'to'} {others}",
            **await measure(one, since, ["p1"], ["p2", "p3"]),
        )
        assert one.watch.fenced == {"p1"}
        assert row.seen.closed == {"close code 1012": 20}
        assert row.no_master < 0.5


async def test_store_cut_off(network, rows):
    async with world(network) as one:
        await trio.sleep(QUIET)
        version = one.version()
        one.net.cut([REDIS], one.proxies)
        await trio.sleep(HELD)
        since = one.net.heal()
        back = await one.until(lambda: all(one.logged(name, "store_is_back") for name in one.proxies), PATIENCE) - since
        row = await end(one, rows, "Redis cut off from all", note=f"all have it again after {back:.1f} s; ")
        assert one.version() == version
        assert not one.watch.fenced
        assert (row.seen.closed, row.seen.errors) == ({}, {})
        assert row.no_master < 0.5


async def test_node_off(network, rows):
    """The host of the master reaches nobody: another node is master, and its requests are answered by others."""
    async with world(network) as one:
        await trio.sleep(QUIET)
        node = one.master
        since = one.net.cut([node], one.others(node))
        lost = await one.until(lambda: not any(one.has_node(name, node) for name in one.proxies), PATIENCE) - since
        elected = await one.until(lambda: one.master not in ("", node), PATIENCE) - since
        await trio.sleep(HELD - elected)
        note = f"given up after {lost:.1f} s, another acts as master after {elected:.1f} s; "
        row = await end(one, rows, "a node, the master, off", note=note)
        assert not one.watch.fenced
        assert (row.seen.closed, row.seen.errors) == ({}, {})


@pytest.mark.parametrize("proxies", [pytest.param(["p1"], marks=pytest.mark.slow), ["p1", "p2"]], ids=["one", "two"])
async def test_node_cut_off(network, rows, proxies):
    """Another proxy relays: the node is there for all of them as before, and so are their clients for it."""
    async with world(network) as one:
        await trio.sleep(QUIET)
        node, version = one.master, one.version()
        since = one.net.cut([node], proxies)
        lost = await one.until(lambda: not any(one.has_node(name, node) for name in proxies), PATIENCE) - since
        back = await one.until(lambda: all(one.has_node(name, node) for name in proxies), PATIENCE) - since
        await trio.sleep(HELD)
        assert all(one.has_node(name, node) for name in one.proxies)
        assert one.logged(node, "tunnel_ended") == 0
        since = one.net.heal()
        direct = await one.until(lambda: one.logged(node, "tunnel_ended") == len(proxies), PATIENCE) - since
        note = f"link given up after {lost:.1f} s, relayed after {back:.1f} s; direct {direct:.1f} s after healing; "
        row = await end(one, rows, f"a node, the master, cut off from {len(proxies)} of 3 proxies", note=note)
        assert not one.watch.fenced
        assert (row.seen.closed, row.seen.errors) == ({}, {})
        if proxies == ["p1"]:  # of whom more than half still see it
            assert one.version() == version
            assert row.no_master < 0.5
