"""Nobody fills the state with documents: not one client, and not all."""

import pytest

from holdfast.kuzzle import Api, Quota
from holdfast.kuzzle.holdings import Holdings
from tests.holdfast.kuzzle.test_documents import HERE, prepare
from tests.holdfast.kuzzle.world import SECRET, kuzzle

FULL = ("services.storage.write_limit_exceeded", 413)


def limited(**quota):
    def make(node):
        api = Api(node)
        api.documents(Quota(**quota))
        api.local_auth({"ada": "lovelace"}, secret=SECRET)
        return api

    return make


async def create(client, id, **more):
    return await client.result("document", "create", **HERE, _id=id, body={"a": 1}, **more)


async def test_one_client_has_its_share_and_leaves_the_others_theirs():
    async with kuzzle(nodes=2, make=limited(max_documents_of_client=3)) as world, world.client() as greedy:
        await prepare(greedy)  # an index and a collection, which count
        await create(greedy, "1")
        assert await greedy.refusal("document", "create", **HERE, _id="2", body={}) == FULL
        assert await greedy.refusal("collection", "create", index="city", collection="more") == FULL
        async with world.client() as other:
            await create(other, "2")
        credentials = {"username": "ada", "password": "lovelace"}
        token = (await greedy.result("auth", "login", strategy="local", body=credentials))["jwt"]
        for id in ("3", "4", "5"):
            await create(greedy, id, jwt=token)  # as somebody else
        assert await greedy.refusal("document", "create", **HERE, _id="6", body={}, jwt=token) == FULL


async def test_requests_over_http_are_one_client():
    async with kuzzle(make=limited(max_documents_of_client=2)) as world, world.client() as client, world.http() as http:
        await prepare(client)
        answers = [await http.post(f"/city/rides/{id}/_create", json={}) for id in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 413]


async def test_all_together():
    async with kuzzle(make=limited(max_documents=4)) as world, world.client() as first, world.client() as second:
        await prepare(first)
        await create(first, "1")
        await create(second, "2")
        for client in (first, second):
            assert await client.refusal("document", "create", **HERE, _id="3", body={}) == FULL


@pytest.mark.parametrize("share", [{"max_documents_of_anonymous": 4}, {"max_bytes_of_anonymous": 1500}])
async def test_those_who_have_not_logged_in_have_a_share_together(share):
    """What they write stays when they have gone: one after the other they would fill all, for ever."""
    async with kuzzle(nodes=2, make=limited(**share)) as world:
        async with world.client() as first:
            await prepare(first)
            await create(first, "1")
        async with world.client() as second:
            body = {"a": "x" * 500}
            await second.result("document", "create", **HERE, _id="2", body=body)
            assert await second.refusal("document", "create", **HERE, _id="3", body=body) == FULL
            await second.result("document", "createOrReplace", **HERE, _id="1", body={"a": 2})  # one of theirs
            credentials = {"username": "ada", "password": "lovelace"}
            token = (await second.result("auth", "login", strategy="local", body=credentials))["jwt"]
            await create(second, "3", jwt=token)
            assert await second.refusal("document", "createOrReplace", **HERE, _id="3", body=body) == FULL
            await second.result("document", "delete", **HERE, _id="2", jwt=token)


async def test_bytes_are_counted_and_less_is_always_possible(monkeypatch):
    monkeypatch.setattr("holdfast.kuzzle.api.SKEW", -1000.0)  # only the last change is remembered
    async with kuzzle(make=limited(max_bytes_of_client=10_000)) as world, world.client() as client:
        await prepare(client)
        await client.result("document", "create", **HERE, _id="1", body={"a": "x" * 4000})
        larger = {"a": "x" * 10_500}
        assert await client.refusal("document", "createOrReplace", **HERE, _id="1", body=larger) == FULL
        await client.result("document", "createOrReplace", **HERE, _id="1", body={"a": "x"})
        await client.result("document", "createOrReplace", **HERE, _id="1", body={"a": "y"})
        await client.result("document", "create", **HERE, _id="2", body={"a": "x" * 6000})


async def test_who_has_no_room_for_what_is_remembered_can_have_less():
    async with kuzzle(make=limited(max_bytes_of_client=10_000)) as world, world.client() as client:
        await prepare(client)
        await client.result("document", "create", **HERE, _id="1", body={"a": "x" * 9400})
        for letter in "yz":
            await client.result("document", "createOrReplace", **HERE, _id="1", body={"a": letter * 9400})
        await client.result("document", "createOrReplace", **HERE, _id="1", body={"a": "x"})
        assert await client.refusal("document", "create", **HERE, _id="2", body={"a": "x" * 9900}) == FULL


async def test_who_deletes_and_creates_in_turn_has_its_share_as_well():
    """A deletion is remembered for a minute, with what went; it is never refused. One entry is bounded."""
    async with kuzzle(make=limited(max_bytes_of_client=50_000)) as world, world.client() as client:
        await prepare(client)
        for turn in range(20):
            answer = await client.ask("document", "create", **HERE, _id="1", body={"a": f"{turn}" + "x" * 9000})
            assert answer["status"] == 200
            await client.result("document", "delete", **HERE, _id="1")
        for turn in range(100):
            body = {"a": "x" * 9000}
            answer = await client.ask("document", "create", **HERE, _id=f"1-{turn}", body=body)
            if answer["status"] != 200:
                break
            await client.result("document", "delete", **HERE, _id=f"1-{turn}")
        assert answer["error"]["id"] == FULL[0]
        assert turn < 7


class Silent:
    """A node as far as Holdings knows it."""

    def on_state(self, function, *, inline):
        self.tell = function


def test_what_has_gone_counts_no_more():
    node = Silent()
    holdings = Holdings(node, Quota(max_documents=2))
    for key in ("kuzzle/document/i/c/1", "kuzzle/document/i/c/2"):
        node.tell(key, {"owner": "client 1", "source": {}})
    with pytest.raises(Exception, match="exceeds"):
        holdings.require("client 2", "kuzzle/document/i/c/3", {})
    node.tell("kuzzle/document/i/c/1", {"owner": "client 2", "source": {}})  # another one has written it
    node.tell("kuzzle/document/i/c/2", None)
    node.tell("kuzzle/document/i/c/2", None)
    node.tell("kuzzle/subscription/x", {"index": "i"})
    holdings.require("client 2", "kuzzle/document/i/c/3", {})
    node.tell("kuzzle/document/i/c/1", None)
    assert not holdings._of_owner
    assert not holdings._entries
