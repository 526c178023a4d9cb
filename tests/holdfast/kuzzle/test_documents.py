"""Documents in the replicated state: any node answers equally, and nobody misses a change."""

import trio
from trio.testing import wait_all_tasks_blocked

from holdfast import Node
from holdfast.kuzzle import Api, documents
from holdfast.kuzzle.holdings import COLLECTION, INDEX
from holdfast.kuzzle.wire import Request
from holdfast.node.state import decode
from holdfast.protocols.nodes import frames
from tests.holdfast.kuzzle.world import kuzzle
from tests.holdfast.node.fake_proxy import linked
from tests.holdfast.node.test_state import Log, item
from tests.waiting import until

HERE = {"index": "city", "collection": "rides"}
CHEAP = {"range": {"price": {"lt": 20}}}


async def prepare(client):
    await client.result("collection", "create", **HERE)


async def test_indexes_and_collections():
    async with kuzzle(nodes=2) as world, world.client() as client:
        assert await client.refusal("document", "get", **HERE, _id="1") == ("services.storage.unknown_index", 412)
        assert await client.result("index", "exists", index="city") is False
        assert await client.result("index", "create", index="city") is None
        assert await client.result("index", "exists", index="city") is True
        assert await client.refusal("index", "create", index="city") == ("services.storage.index_already_exists", 412)
        for action in ("get", "search", "count"):
            refused = await client.refusal("document", action, **HERE, _id="1")
            assert refused == ("services.storage.unknown_collection", 412)
        for name in ("rides", "cabs"):
            assert await client.result("collection", "create", index="city", collection=name) == {"acknowledged": True}
        await client.result("collection", "create", index="other", collection="rides")  # makes the index too
        assert await client.result("collection", "exists", **HERE) is True
        assert await client.result("collection", "exists", index="city", collection="x") is False
        assert await client.result("index", "list") == {"indexes": ["city", "other"]}
        cabs, rides = {"name": "cabs", "type": "stored"}, {"name": "rides", "type": "stored"}
        assert (await client.result("collection", "list", index="city"))["collections"] == [cabs, rides]
        assert (await client.result("collection", "list", index="city", size=1))["collections"] == [cabs]
        assert (await client.result("collection", "list", index="city", **{"from": 1}))["collections"] == [rides]


async def test_names_are_checked():
    async with kuzzle() as world, world.client() as client:
        for name in ("", "A", "a/b", "a b", "_all", "a" * 127, "a*"):
            refused = await client.refusal("index", "create", index=name)
            assert refused == ("services.storage.invalid_index_name", 400), name
            refused = await client.refusal("collection", "create", index="i", collection=name)
            assert refused == ("services.storage.invalid_collection_name", 400), name


async def test_a_document_lives():
    async with kuzzle(nodes=2) as world, world.client() as client:
        await prepare(client)
        credentials = {"username": "ada", "password": "lovelace"}
        token = (await client.result("auth", "login", strategy="local", body=credentials))["jwt"]
        made = await client.result("document", "create", **HERE, _id="1", body={"price": 12, "by": {"a": 1}}, jwt=token)
        assert (made["_id"], made["_version"], made["_source"]["price"]) == ("1", 1, 12)
        info = made["_source"]["_kuzzle_info"]
        assert (info["author"], info["updater"], info["updatedAt"]) == ("ada", None, None)
        assert await client.result("document", "get", **HERE, _id="1") == made
        assert await client.result("document", "exists", **HERE, _id="1") is True

        updated = await client.result("document", "update", **HERE, _id="1", body={"by": {"b": 2}, "price": None})
        assert updated["_source"].keys() == {"by", "price", "_kuzzle_info"}
        assert updated["_source"]["_kuzzle_info"]["updater"] == "-1"
        whole = await client.result("document", "update", **HERE, _id="1", body={"by": 3}, source=True)
        assert (whole["_version"], whole["_source"]["by"], whole["_source"]["price"]) == (3, 3, None)
        assert whole["_source"]["_kuzzle_info"]["author"] == "ada"

        replaced = await client.result("document", "replace", **HERE, _id="1", body={"x": 1})
        assert replaced["_source"].keys() == {"x", "_kuzzle_info"}
        again = await client.result("document", "createOrReplace", **HERE, _id="1", body={"y": 1})
        assert (again["created"], again["_version"]) == (False, 5)
        other = await client.result("document", "createOrReplace", **HERE, _id="2", body={"y": 1})
        assert other["created"] is True

        assert await client.result("document", "delete", **HERE, _id="2") == {"_id": "2"}
        deleted = await client.result("document", "delete", **HERE, _id="1", source=True)
        assert (deleted["_version"], deleted["_source"]["y"]) == (5, 1)
        assert await client.result("document", "exists", **HERE, _id="1") is False


REFUSED = [
    ("create", {"_id": "1", "body": {}}, "services.storage.document_already_exists", 400),
    ("create", {"_id": "_1", "body": {}}, "api.assert.invalid_id", 400),
    ("create", {"_id": "é" * 257, "body": {}}, "api.assert.invalid_argument", 400),
    ("create", {"_id": 7, "body": {}}, "api.assert.invalid_type", 400),
    ("create", {}, "api.assert.body_required", 400),
    ("create", {"body": []}, "api.assert.invalid_type", 400),
    ("get", {"_id": "none"}, "services.storage.not_found", 404),
    ("get", {}, "api.assert.missing_argument", 400),
    ("update", {"_id": "none", "body": {}}, "services.storage.not_found", 404),
    ("replace", {"_id": "none", "body": {}}, "services.storage.not_found", 404),
    ("delete", {"_id": "none"}, "services.storage.not_found", 404),
    ("createOrReplace", {"body": {}}, "api.assert.missing_argument", 400),
    ("search", {"size": -1}, "api.assert.invalid_argument", 400),
    ("search", {"body": {"query": {"term": {}}}}, "api.assert.invalid_argument", 400),
]


async def test_what_is_refused():
    async with kuzzle() as world, world.client() as client:
        await prepare(client)
        await client.result("document", "create", **HERE, _id="1", body={})
        for action, more, id, status in REFUSED:
            assert await client.refusal("document", action, **HERE, **more) == (id, status), (action, more)


async def test_what_does_not_fit_into_the_state_is_refused():
    async with kuzzle(state={"max_value_bytes": 1000}) as world, world.client() as client:
        await prepare(client)
        refused = await client.refusal("document", "create", **HERE, _id="1", body={"x": "x" * 1000})
        assert refused == ("services.storage.write_limit_exceeded", 413)
        assert await client.result("document", "exists", **HERE, _id="1") is False


async def test_documents_get_an_id_of_their_own():
    async with kuzzle() as world, world.client() as client:
        await prepare(client)
        ids = {(await client.result("document", "create", **HERE, body={}))["_id"] for _ in range(20)}
        assert len(ids) == 20
        assert await client.result("document", "count", **HERE) == {"count": 20}


async def test_writes_at_the_same_time_are_made_one_after_the_other():
    async with kuzzle(nodes=2) as world, world.client() as client:
        await client.result("collection", "create", index="i", collection="c")
        where = {"index": "i", "collection": "c", "_id": "one"}
        statuses = []

        async def write(action, field):
            async with world.client() as writer:
                response = await writer.ask("document", action, body={field: 1}, **where)
                statuses.append(response["status"])

        async with trio.open_nursery() as writing:
            for number in range(6):
                writing.start_soon(write, "create", f"c{number}")
        assert sorted(statuses) == [200, 400, 400, 400, 400, 400]
        async with trio.open_nursery() as writing:
            for number in range(6):
                writing.start_soon(write, "update", f"u{number}")
        document = await client.result("document", "get", **where)
        assert document["_version"] == 7
        assert sorted(set(document["_source"]) - {"_kuzzle_info"})[1:] == [f"u{number}" for number in range(6)]


async def test_searching():
    async with kuzzle(nodes=2) as world, world.client() as client:
        await prepare(client)
        for number in range(12):
            await client.result("document", "create", **HERE, _id=f"{number:02}", body={"price": number % 6})
        found = await client.result("document", "search", **HERE)
        assert (found["total"], [hit["_id"] for hit in found["hits"]]) == (12, [f"{number:02}" for number in range(10)])
        query = {"query": {"range": {"price": {"gte": 4}}}, "sort": [{"price": "desc"}, "_id"]}
        found = await client.result("document", "search", **HERE, body=query, lang="koncorde", size=3, **{"from": 1})
        assert (found["total"], [hit["_id"] for hit in found["hits"]]) == (4, ["11", "04", "10"])
        counted = await client.result("document", "count", **HERE, body={"query": query["query"]}, lang="koncorde")
        assert counted == {"count": 4}


async def told(client):
    notification = await client.told()
    result = notification["result"]
    return (
        notification["action"],
        notification["scope"],
        notification["event"],
        result["_id"],
        result["_source"].get("price"),
    )


async def test_changes_are_told_to_whom_they_concern():
    async with kuzzle(nodes=3) as world, world.client() as client, world.client() as listener:
        await prepare(client)
        subscribed = await listener.result("realtime", "subscribe", **HERE, body=CHEAP, users="all")
        leaving = await listener.result("realtime", "subscribe", **HERE, body=CHEAP, scope="out")

        async def do(action, **body):
            await client.result("document", action, **HERE, _id="1", body=body, volatile={"from": action})

        await do("create", price=12)
        assert await told(listener) == ("create", "in", "write", "1", 12)
        await do("update", name={"first": "Ada", "last": "L"})
        notification = await listener.told()
        assert notification["result"]["_updatedFields"] == ["name.first", "name.last"]
        assert (notification["volatile"], notification["controller"]) == ({"from": "update"}, "document")
        assert notification["room"] == subscribed["channel"]
        await do("update", price=50)
        rooms = set()
        for _ in range(2):
            notification = await listener.told()
            rooms.add(notification["room"])
            assert (notification["action"], notification["scope"]) == ("update", "out")
        assert rooms == {subscribed["channel"], leaving["channel"]}
        await do("update", name="still expensive")
        await do("replace", price=1)
        assert await told(listener) == ("replace", "in", "write", "1", 1)
        await do("createOrReplace", price=2)
        assert await told(listener) == ("replace", "in", "write", "1", 2)
        await client.result("document", "createOrReplace", **HERE, _id="2", body={"price": 3})
        assert await told(listener) == ("create", "in", "write", "2", 3)
        await client.result("document", "create", **HERE, _id="3", body={"price": 3}, silent=True)
        await client.result("document", "delete", **HERE, _id="3", silent=True)
        await client.result("document", "delete", **HERE, _id="1")
        assert {(await listener.told())["room"] for _ in range(2)} == rooms
        assert await listener.told_nothing()


async def test_the_id_of_a_document_can_be_filtered():
    async with kuzzle() as world, world.client() as client:
        await prepare(client)
        await client.result("realtime", "subscribe", **HERE, body={"ids": {"values": ["2"]}})
        for id in "123":
            await client.result("document", "create", **HERE, _id=id, body={})
        assert (await client.told())["result"]["_id"] == "2"
        assert await client.told_nothing()


async def test_what_a_search_brings_is_bounded(monkeypatch):
    async with kuzzle() as world, world.client() as client:
        await prepare(client)
        for id in ("1", "2"):
            await client.result("document", "create", **HERE, _id=id, body={"a": "x" * 1000})
        too_much = ("services.storage.get_limit_exceeded", 413)
        assert await client.refusal("document", "search", **HERE, size=documents.MAX_SIZE + 1) == too_much
        assert (await client.result("document", "search", **HERE, size=documents.MAX_SIZE))["fetched"] == 2
        monkeypatch.setattr(documents, "MAX_PAGE_BYTES", 2000)
        assert await client.refusal("document", "search", **HERE) == too_much
        found = await client.result("document", "search", **HERE, size=1)
        assert (found["total"], found["fetched"]) == (2, 1)


async def test_what_an_update_has_set_is_named_in_linear_size():
    """A long name with many fields below it: each repeats it."""
    async with kuzzle() as world, world.client() as client:
        await prepare(client)
        await client.result("document", "create", **HERE, _id="1", body={})
        await client.result("realtime", "subscribe", **HERE, body={})
        body = {"K" * 20_000: {f"{n}": 1 for n in range(1000)}, "a": {"b": 1, "c": {}}}
        await client.result("document", "update", **HERE, _id="1", body=body)
        assert (await client.told())["result"]["_updatedFields"] == ["a.b"]


async def test_writes_of_one_document_take_turns_at_a_node():
    """Hundreds at once had each proposed again for all that were faster: others waited until they were 504."""
    node = Node("n")
    documents = Api(node).documents()
    state = [item(INDEX + "i", {"owner": "x"}), item(COLLECTION + "i/c", {"owner": "x"})]
    async with linked(node, state=state) as session, trio.open_nursery() as nursery:
        log, answers = Log(session), []

        async def ask(action, number):
            request = Request("q", "document", action, {"index": "i", "collection": "c", "_id": "d"}, {"x": number})
            request.origin = f"{action}{number}"
            answers.append((await documents.actions()[action](request)).get("_version", "deleted"))

        async def accepted():
            """The one change that is proposed."""
            [change] = [await session.take(frames.Propose), *session.untaken()]
            log.accept(change, node)
            return change

        for number in range(20):
            nursery.start_soon(ask, "createOrReplace", number)
            await wait_all_tasks_blocked()
        nursery.start_soon(ask, "delete", 0)
        for number in range(20):
            assert decode((await accepted()).value)["version"] == number + 1
        assert "source" not in decode((await accepted()).value)
        await until(lambda: len(answers) == 21, "all answers")
        assert answers == [*range(1, 21), "deleted"]
