"""Subscriptions end with the token that they were made with, and their clients are told so."""

import json
import time

import trio

from holdfast import Node, State
from holdfast.kuzzle import realtime
from holdfast.kuzzle.tokens import fingerprint
from tests.holdfast.kuzzle.test_realtime import CHEAP, HERE, publish, subscribe
from tests.holdfast.kuzzle.world import kuzzle

SUBSCRIBE = {"controller": "realtime", "action": "subscribe", **HERE}
LOGIN = {"strategy": "local", "body": {"username": "ada", "password": "lovelace"}}


async def logged_in(client, **more):
    return (await client.result("auth", "login", **LOGIN, **more))["jwt"]


def expired(told):
    """The channel of a notification that the token of its subscription has ended."""
    assert told | {"node": "", "room": ""} == {
        "type": "TokenExpired",
        "status": 200,
        "info": "This is an automated server notification",
        "message": "Authentication Token Expired",
        "node": "",
        "room": "",
    }
    assert told["node"].startswith("kuzzle-")
    return told["room"]


async def test_a_logout_ends_the_subscriptions_that_were_made_with_its_token():
    async with kuzzle(nodes=2) as world, world.client() as one, world.client() as other:
        first, second = await logged_in(one), await logged_in(other, expiresIn="2h")
        mine = await subscribe(one, {}, jwt=first)
        await subscribe(one, CHEAP, jwt=second)
        await subscribe(other, {}, jwt=first)
        await other.result("auth", "logout", jwt=first)
        assert await other.result("realtime", "count", body={"roomId": mine["roomId"]}) == {"count": 0}
        await publish(other, price=1)
        assert expired(await one.told()) == mine["channel"]
        assert (await one.told())["room"] != mine["channel"]
        assert await one.told_nothing()
        assert await other.told_nothing()  # who has logged out knows
        assert await one.refusal("realtime", "subscribe", **HERE, body={}, jwt=first) == ("security.token.invalid", 401)


async def test_the_end_of_a_token_ends_its_subscriptions(monkeypatch):
    monkeypatch.setattr(realtime, "EXPIRY_INTERVAL", 0.01)
    async with kuzzle(nodes=2) as world, world.client() as one, world.client() as other:
        mine = await subscribe(one, {}, jwt=await logged_in(one, expiresIn=400))
        stays = await subscribe(other, CHEAP, jwt=await logged_in(one))
        rooms = [api.realtime()._rooms for api in world.apis]
        await world.proxy.until(lambda: not any(each.count(mine["roomId"]) for each in rooms), "the end of the token")
        await publish(other, price=1)
        assert (await other.told())["room"] == stays["channel"]
        assert expired(await one.told()) == mine["channel"]
        assert await one.told_nothing()


async def end_tokens(world):
    """As if all that end within two hours had ended."""
    rooms = world.apis[0].realtime()
    await rooms._end_with_token(rooms._rooms.ended(time.time() + 7200, set()), trio.lowlevel.checkpoint)


async def test_the_end_of_a_token_is_told_in_each_channel_after_what_was_before_it_and_before_nothing(monkeypatch):
    async with kuzzle(nodes=2) as world, world.client() as one, world.client() as other:
        token = await logged_in(one, expiresIn="1h")
        mine = [(await subscribe(one, filters, jwt=token))["channel"] for filters in ({}, CHEAP, {"exists": "price"})]
        for number in range(5):
            await publish(other, price=1, number=number)
        over = []
        notify = Node.notify

        async def heard_first(node, payload, **more):
            await notify(node, payload, **more)
            if "clients" in more:
                while (told := await one.told())["type"] != "TokenExpired":
                    before[told["room"]].append(told["result"]["_source"]["number"])
                over.append(expired(told))
                await publish(other, price=1)

        before = {channel: [] for channel in mine}
        monkeypatch.setattr(Node, "notify", heard_first)
        await end_tokens(world)
        assert before == {channel: list(range(5)) for channel in mine}
        assert sorted(over) == sorted(mine)
        assert await one.told_nothing()
        await world.proxy.until(lambda: not any(node.state.items("kuzzle/subscription/") for node in world.nodes))


async def test_who_subscribes_anew_when_told_that_its_token_has_ended_stays(monkeypatch):
    """Though its entries are deleted only after it was told."""
    async with kuzzle() as world, world.client() as one:
        token = await logged_in(one, expiresIn="1h")
        mine = [await subscribe(one, filters, jwt=token) for filters in ({}, CHEAP)]
        delete = State.delete

        async def asked_first(state, key, **more):
            if not anew:
                assert {expired(await one.told()) for _ in mine} == {room["channel"] for room in mine}
                token = await logged_in(one, expiresIn="10h")
                for filters in ({}, CHEAP):
                    ask = {"controller": "realtime", "action": "subscribe", **HERE, "body": filters, "jwt": token}
                    await one.send(json.dumps({**ask, "requestId": "anew"}))
                anew.append(token)
            await delete(state, key, **more)

        anew = []
        monkeypatch.setattr(State, "delete", asked_first)
        await end_tokens(world)
        assert [(await one.receive())["result"] for _ in mine] == mine
        await publish(one, price=1)
        assert {(await one.told())["room"] for _ in mine} == {room["channel"] for room in mine}
        assert await one.result("realtime", "count", body={"roomId": mine[0]["roomId"]}) == {"count": 1}


async def test_who_subscribes_anew_while_the_ends_of_others_are_told_stays(monkeypatch):
    async with kuzzle() as world, world.client() as one, world.client() as other:
        token = await logged_in(one, expiresIn="1h")
        rooms = [await subscribe(client, jwt=token) for client in (one, other)]
        clients = [int(key.split("/")[3], 16) for key in world.apis[0].realtime()._rooms.with_token(fingerprint(token))]
        leave = Node.leave

        async def renewed_first(node, client, channel, **more):
            if client == clients[0]:
                await subscribe(other, jwt=await logged_in(other, expiresIn="10h"))
            await leave(node, client, channel, **more)

        monkeypatch.setattr(Node, "leave", renewed_first)
        await end_tokens(world)
        assert expired(await one.told()) == rooms[0]["channel"]
        await publish(one, price=1)
        assert (await other.told())["type"] == "document"
        assert await one.told_nothing()
