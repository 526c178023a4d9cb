"""A write that is delivered again is done once, answered and told alike, whatever others have done meanwhile."""

import time
from contextlib import suppress

import pytest
import trio

from holdfast import StateRefused
from holdfast.kuzzle.errors import ExternalServiceError
from holdfast.kuzzle.record import MAX_CHANGES
from holdfast.kuzzle.wire import Request
from tests.holdfast.kuzzle.test_documents import CHEAP, HERE, prepare
from tests.holdfast.kuzzle.world import kuzzle

KEY = "kuzzle/document/city/rides/1"
ACTIONS = ["create", "createOrReplace", "update", "replace", "delete"]
NOT_FOUND = ("services.storage.not_found", 404)


def asked(action, origin="dead/1", **more):
    body = {"price": 50 if action == "update" else 7}
    return Request("q", "document", action, {**HERE, "_id": "1"}, body, origin=origin, timestamp=1, **more)


async def do(api, request):
    return await api.documents().actions()[request.action](request)


async def do_again(api, request):
    request.redelivered = True
    return await do(api, request)


def same(told):
    return {name: value for name, value in told.items() if name != "node"}


async def begin(client, action):
    await prepare(client)
    if action != "create":
        await client.result("document", "create", **HERE, _id="1", body={"price": 5, "count": 1})
    await client.result("realtime", "subscribe", **HERE, body=CHEAP)


@pytest.mark.parametrize("action", ACTIONS)
async def test_it_is_done_once_and_answered_and_told_alike(action):
    """The node died after the state was changed and before its response was out: so nobody was told yet."""
    async with kuzzle(nodes=2) as world, world.client() as client:
        await begin(client, action)
        request = asked(action)
        first = await do(world.apis[0], request)
        told = await client.told()
        assert told["scope"] == ("out" if action in ("update", "delete") else "in")
        state = world.nodes[1].state
        await world.proxy.until(lambda: state.version(KEY) == world.nodes[0].state.version(KEY), "the other node")
        stands = state.version(KEY)
        assert await do_again(world.apis[1], request) == first
        assert same(await client.told()) == same(told)
        assert state.version(KEY) == stands, "nothing is written"
        if action == "delete":
            assert await client.refusal("document", "get", **HERE, _id="1") == NOT_FOUND
        else:
            version = (await client.result("document", "get", **HERE, _id="1"))["_version"]
            assert version == (1 if action == "create" else 2)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("others", [("update",), ("delete",), ("delete", "create"), ("createOrReplace", "update")])
async def test_what_others_have_done_meanwhile_stays(action, others):
    """Only the last writer was known: the write was done again on top of what another one had been answered."""
    async with kuzzle(nodes=2) as world, world.client() as client, world.client() as other:
        await begin(client, action)
        request = asked(action)
        first = await do(world.apis[0], request)
        told = await client.told()
        for what in others:
            await other.ask("document", what, **HERE, _id="1", body={"price": 100}, silent=True)
        stands = await other.ask("document", "get", **HERE, _id="1")
        assert await do_again(world.apis[1], request) == first
        assert same(await client.told()) == same(told)
        stays = await other.ask("document", "get", **HERE, _id="1")
        assert (stays["result"], stays["status"]) == (stands["result"], stands["status"])


async def test_a_deletion_that_was_answered_was_done():
    """What was to be deleted was remembered elsewhere, and before: another's update in between stayed for ever."""
    async with kuzzle(nodes=2) as world, world.client() as client:
        await begin(client, "delete")
        request, dies = asked("delete"), trio.CancelScope()
        node = world.nodes[0]
        node.on_state(lambda key, value: dies.cancel(), inline=True)  # when the first thing is changed
        with dies:
            await do(world.apis[0], request)
        update = await client.ask("document", "update", **HERE, _id="1", body={"price": 6}, silent=True)
        assert await do_again(world.apis[1], request) == {"_id": "1"}
        assert (await client.told())["action"] == "delete"
        assert await client.result("document", "exists", **HERE, _id="1") is False
        assert update["status"] in (200, 404)


async def test_a_document_without_id_is_created_once_however_often_it_is_delivered():
    async with kuzzle(nodes=2) as world, world.client() as client:
        await prepare(client)
        request = Request("q", "document", "create", dict(HERE), {"price": 7}, origin="dead/1")
        first = await do(world.apis[0], request)
        assert await do_again(world.apis[1], request) == first
        assert await client.result("document", "count", **HERE) == {"count": 1}


async def refused(api, request):
    with pytest.raises(ExternalServiceError) as caught:
        await do_again(api, request)
    assert (caught.value.id, caught.value.status) == ("services.storage.too_many_changes", 500)
    assert "may have" in str(caught.value)


@pytest.mark.parametrize("action", ACTIONS)
async def test_where_nobody_knows_any_more_the_answer_says_so(action):
    async with kuzzle() as world, world.client() as client:
        await begin(client, "update")
        [api] = world.apis
        until = time.time() + 3600
        for number in range(MAX_CHANGES + 1):
            await do(api, asked("update", f"other/{number}", until=until))
        stands = world.nodes[0].state.version(KEY)
        await refused(api, asked(action))
        assert world.nodes[0].state.version(KEY) == stands
        assert (await do_again(api, asked("update", "other/1")))["_version"] == 3, "this one is known"
        await do(api, asked("delete", "first"))  # which comes for the first time


async def test_when_what_was_forgotten_can_come_no_more_a_write_is_done():
    async with kuzzle() as world, world.client() as client:
        await prepare(client)
        [api] = world.apis
        await do(api, asked("create", "other", until=0.0))
        for number in range(MAX_CHANGES + 1):
            await do(api, asked("update", f"other/{number}", until=0.0))
        answer = await do_again(api, asked("update"))
        assert answer["_version"] == MAX_CHANGES + 3


async def test_what_is_remembered_refuses_nobody():
    """Without room for what was before, a document is stored all the same, and deleted; and it is known not to know."""
    async with kuzzle(state={"max_value_bytes": 1000}) as world, world.client() as client:
        await prepare(client)
        [api] = world.apis
        for letter in "abc":
            request = asked("createOrReplace", letter)
            request.body = {"x": letter * 600}
            await do(api, request)
        await refused(api, request)
        assert (await client.result("document", "get", **HERE, _id="1"))["_version"] == 3
        deletion = asked("delete", "d")
        await do(api, deletion)
        for size in range(920, 0, -1):  # the largest that there can be
            request = asked("create", "e")
            request.body = {"x": "e" * size}
            with suppress(StateRefused):
                await do(api, request)
                break
        deletion = asked("delete", "f")
        assert await do(api, deletion) == {"_id": "1"}
        await refused(api, deletion)
        assert await client.refusal("document", "get", **HERE, _id="1") == NOT_FOUND


async def test_an_action_knows_until_when_its_request_may_come_again():
    kept = []
    async with kuzzle(request={"timeout": 5.0}) as world, world.client() as client:

        @world.apis[0].action("my", "own")
        async def own(request):
            kept.append(request.until - request.timestamp / 1000)

        await client.result("my", "own")
    assert 60 < kept[0] < 65.1, "what is left of request.timeout, and what clocks may differ"
