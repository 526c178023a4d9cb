"""Several proxies relay the same entries."""

from contextlib import asynccontextmanager

import trio

from holdfast import Node
from holdfast.state import encode
from protocols.nodes import frames
from tests.holdfast.fake_proxy import PATIENCE, fake_proxy, until


def item(key, value):
    return frames.StateItem(key, encode(value))


def entry(index, key, value, node="", proposal=0):
    return frames.Entry(1, index, node, proposal, key, encode(value))


@asynccontextmanager
async def two_proxies(node, first, second):
    with trio.fail_after(PATIENCE):
        async with fake_proxy("a") as a, fake_proxy("b") as b, trio.open_nursery() as nursery:
            nursery.start_soon(node.run, [a.address])
            at_a = await a.join(peers=[b.address], **first)
            yield at_a, await b.join(**second)
            nursery.cancel_scope.cancel()


def listening():
    node = Node("test")
    told = []
    node.on_state(lambda key, value: told.append((key, value)))
    return node, told


async def test_each_entry_is_taken_once_from_whoever_brings_it_first():
    node, told = listening()
    async with two_proxies(node, {}, {}) as (a, b):
        a.say(entry(1, "k", 1))
        await until(lambda: len(told) == 1)
        b.say(entry(1, "k", 1), entry(2, "k", 2), entry(3, "k", 3))
        await until(lambda: len(told) == 3)
        a.say(entry(2, "k", 2), entry(3, "k", 3), entry(4, "k", 4))
        await until(lambda: len(told) == 4)
        assert told == [("k", 1), ("k", 2), ("k", 3), ("k", 4)]
        assert node.statistics().proxies == 2


async def test_a_later_snapshot_counts_and_an_earlier_one_does_not():
    early = {"state": [item("k", 1)], "position": (1, 1)}
    late = {"state": [item("k", 2)], "position": (1, 2)}
    for first, second in ((early, late), (late, early)):
        node, told = listening()
        async with two_proxies(node, first, second):
            assert node.state["k"] == 2
            assert told[-1] == ("k", 2)


async def test_a_hole_ends_that_session_only():
    node, told = listening()
    async with two_proxies(node, {}, {}) as (a, b):
        b.say(entry(5, "k", 5))
        again = await b.proxy.join(state=[item("k", 5)], position=(1, 5))
        assert again.identity != b.identity
        assert told == [("k", 5)]
        a.say(entry(1, "k", 1), entry(6, "x", 6))
        await until(lambda: "x" in node.state)


async def test_a_change_is_proposed_to_another_proxy_when_one_is_lost():
    node, _ = listening()
    async with two_proxies(node, {}, {}) as (a, b), trio.open_nursery() as nursery:
        nursery.start_soon(node.state.set, "k", 1)
        propose = await a.take(frames.Propose)
        a.proxy.say_raw(a.identity, b"\xc1")
        assert await b.take(frames.Propose) == propose
        b.say(entry(1, "k", 1, node.id, propose.proposal))
        await until(lambda: not nursery.child_tasks)
        # Both proxies may have had it put in order: it is the same change twice.
        b.say(entry(2, "k", 1, node.id, propose.proposal))
        await until(lambda: node._parts.replica.view.position == (1, 2))
