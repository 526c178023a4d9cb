"""Entries that end by themselves: seen until their time, deleted some time after it."""

import time

from holdfast.kuzzle.expiring import Expiring
from holdfast.kuzzle.time_slice import TimeSlice
from tests.holdfast.kuzzle.world import kuzzle


async def test_an_entry_is_there_until_its_time():
    kept = []
    async with kuzzle(nodes=2, make=lambda node: kept.append(Expiring(node, TimeSlice()))) as world:
        one, other = kept
        await one.set("a", {"x": 1}, time.time() + 60)
        await one.set("b", {"x": 2}, time.time() - 1)
        await world.proxy.until(lambda: other.get("a") == {"x": 1}, "the other node to have it")
        assert (one.get("a"), one.get("b"), one.get("c")) == ({"x": 1}, None, None)


async def test_the_master_deletes_what_is_past_its_time(monkeypatch):
    monkeypatch.setattr("holdfast.kuzzle.expiring.SWEEP_INTERVAL", 0.02)
    kept = []
    async with kuzzle(nodes=2, make=lambda node: kept.append(Expiring(node, TimeSlice()))) as world:
        await kept[1].set("stays", 1, time.time() + 60)
        await kept[1].set("goes", 1, time.time() - 1)
        for node in world.nodes:
            await world.proxy.until(lambda node=node: len(node.state) == 1, "the sweep")
            assert list(node.state) == ["kuzzle/expiring/stays"]
