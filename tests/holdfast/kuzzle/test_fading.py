"""What a document's entry remembers ends, and a deleted document with it."""

import time
from itertools import count
from types import SimpleNamespace

import trio

from holdfast.kuzzle.fading import Fading
from holdfast.kuzzle.time_slice import TimeSlice
from tests.holdfast.kuzzle.test_documents import HERE, prepare
from tests.holdfast.kuzzle.world import kuzzle

PREFIX = "kuzzle/document/"


async def change(client, id):
    for number in range(3):
        await client.result("document", "createOrReplace", **HERE, _id=id, body={"n": number})


async def test_a_deleted_document_is_seen_by_nobody():
    async with kuzzle() as world, world.client() as client:
        await prepare(client)
        await change(client, "1")
        await change(client, "2")
        await client.result("document", "delete", **HERE, _id="1")
        assert len(world.nodes[0].state.items(PREFIX)) == 2
        assert await client.result("document", "exists", **HERE, _id="1") is False
        for action, more in (("get", {}), ("update", {"body": {}}), ("replace", {"body": {}}), ("delete", {})):
            refused = await client.refusal("document", action, **HERE, _id="1", **more)
            assert refused == ("services.storage.not_found", 404)
        assert await client.result("document", "count", **HERE) == {"count": 1}
        found = await client.result("document", "search", **HERE)
        assert [hit["_id"] for hit in found["hits"]] == ["2"]
        assert (await client.result("document", "create", **HERE, _id="1", body={}))["_version"] == 1


async def test_the_master_ends_what_can_be_asked_for_no_more(monkeypatch):
    monkeypatch.setattr("holdfast.kuzzle.fading.SWEEP_INTERVAL", 0.02)
    monkeypatch.setattr("holdfast.kuzzle.api.SKEW", -1000.0)
    async with kuzzle(nodes=2) as world, world.client() as client:
        await prepare(client)
        await change(client, "goes")
        await client.result("document", "delete", **HERE, _id="goes")
        await change(client, "stays")
        for node in world.nodes:
            left = lambda node=node: [sorted(value) for _, value in node.state.items(PREFIX)]  # noqa: E731
            await world.proxy.until(lambda left=left: left() == [["owner", "source", "version"]], "the sweep")
        assert (await client.result("document", "get", **HERE, _id="stays"))["_version"] == 3
        assert [api.documents()._holdings._of_all.count for api in world.apis] == [3, 3], "index, collection, document"


async def test_what_may_be_asked_for_stays(monkeypatch):
    monkeypatch.setattr("holdfast.kuzzle.fading.SWEEP_INTERVAL", 0.02)
    async with kuzzle() as world, world.client() as client:
        await prepare(client)
        await client.result("document", "create", **HERE, _id="1", body={})
        await client.result("document", "delete", **HERE, _id="1")
        with monkeypatch.context() as earlier:
            earlier.setattr("holdfast.kuzzle.api.SKEW", -1000.0)
            await change(client, "2")
            await client.result("document", "delete", **HERE, _id="2")
        state = world.nodes[0].state
        await world.proxy.until(lambda: f"{PREFIX}city/rides/2" not in state, "the sweep")
        assert f"{PREFIX}city/rides/1" in state


class State(dict):
    looks = 0

    def get(self, key):
        self.looks += 1
        return super().get(key)

    def version(self, key):
        return 1


async def test_the_sweep_goes_on_in_pieces_and_looks_at_what_is_due():
    now, passes, sweeps, follows = count(1), 0, [], []
    node = SimpleNamespace(
        on_state=lambda function, *, inline: follows.append(function), on_master=sweeps.append, state=State()
    )
    Fading(node, TimeSlice(lambda: float(next(now))))
    for number in range(200):
        until = time.time() + (0 if number % 2 else 1000)
        follows[0](f"{PREFIX}i/c/{number}", {"source": None, "version": 1, "changes": [["o", 1, until, {}]]})
    follows[0](f"{PREFIX}i/c/new", {"source": {}, "version": 1, "changes": [["o", 1, 0.0, None]]})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(*sweeps)
        while node.state.looks < 100:
            passes += 1
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert node.state.looks == 100
    assert passes >= 99
