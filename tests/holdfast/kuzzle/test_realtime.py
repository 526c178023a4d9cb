"""Subscriptions through one node, messages through another, and what everybody is told of everybody."""

import pytest

from holdfast.kuzzle import realtime, rooms
from holdfast.kuzzle.rooms import SCOPES, USERS, Load
from holdfast.kuzzle.wire import Request
from tests.holdfast.kuzzle.world import kuzzle

HERE = {"index": "city", "collection": "rides"}
CHEAP = {"range": {"price": {"lt": 20}}}


async def subscribe(client, filters=CHEAP, **more):
    return await client.result("realtime", "subscribe", **HERE, body=filters, **more)


async def publish(client, **message):
    assert await client.result("realtime", "publish", **HERE, body=message) == {"published": True}


async def test_messages_reach_those_whose_filter_they_pass():
    async with kuzzle(nodes=2) as world, world.client() as one, world.client() as other, world.http() as http:
        cheap = await subscribe(one)
        everything = await subscribe(other, {})
        assert cheap["channel"] == f"{cheap['roomId']}-311"
        await publish(other, price=12, name="a")
        told = await one.told()
        assert (told["room"], told["type"], told["scope"]) == (cheap["channel"], "document", "in")
        assert (told["event"], told["action"], told["index"]) == ("publish", "publish", "city")
        assert told["result"]["_source"]["price"] == 12
        assert told["result"]["_source"]["_kuzzle_info"]["author"] == "-1"
        assert (await other.told())["room"] == everything["channel"]

        await publish(one, price=30)
        assert (await other.told())["result"]["_source"]["price"] == 30
        assert await one.told_nothing()

        answer = await http.post("/city/rides/_publish?_id=m7", json={"price": 1})
        assert answer.json()["result"] == {"published": True}
        told = await one.told()
        assert (told["result"]["_id"], told["protocol"]) == ("m7", "http")


async def test_messages_of_one_publisher_come_in_order():
    async with kuzzle(nodes=3) as world, world.client() as listener, world.client() as publisher:
        await subscribe(listener, {})
        for number in range(60):
            await publish(publisher, number=number)
        assert [(await listener.told())["result"]["_source"]["number"] for _ in range(60)] == list(range(60))


async def test_one_filter_is_one_room_whoever_asks():
    async with kuzzle(nodes=2) as world, world.client() as one, world.client() as other:
        twins = [{"and": [CHEAP, {"exists": "name"}]}, {"and": [{"not": {"missing": "name"}}, CHEAP]}]
        rooms = [await subscribe(client, filters) for client, filters in zip((one, other), twins, strict=True)]
        assert rooms[0] == rooms[1]
        room = rooms[0]["roomId"]
        assert await one.result("realtime", "count", body={"roomId": room}) == {"count": 2}
        assert await one.result("realtime", "list") == {"city": {"rides": {room: 2}}}

        joined = await one.result("realtime", "join", body={"roomId": room}, scope="in")
        assert joined == {"roomId": room, "channel": f"{room}-312"}
        assert await one.result("realtime", "count", body={"roomId": room}) == {"count": 2}
        await publish(other, price=1, name="x")
        assert {(await one.told())["room"] for _ in range(2)} == {f"{room}-311", f"{room}-312"}

        await one.result("realtime", "unsubscribe", body={"roomId": room})
        assert await other.result("realtime", "count", body={"roomId": room}) == {"count": 1}
        await publish(other, price=1, name="x")
        assert await one.told_nothing()


async def test_subscribing_twice_is_being_told_once():
    async with kuzzle() as world, world.client() as client:
        first, second = await subscribe(client), await subscribe(client)
        assert first == second
        await publish(client, price=1)
        assert (await client.told())["room"] == first["channel"]
        assert await client.told_nothing()


async def test_a_client_that_goes_leaves_its_rooms():
    async with kuzzle(nodes=2) as world, world.client() as one:
        async with world.client() as other:
            room = (await subscribe(other))["roomId"]
            assert await one.result("realtime", "count", body={"roomId": room}) == {"count": 1}
        for node in world.nodes:
            await world.proxy.until(lambda node=node: not node.state.items("kuzzle/subscription/"))
        assert await one.result("realtime", "count", body={"roomId": room}) == {"count": 0}
        assert await one.result("realtime", "list") == {}


async def test_users_are_told_of_users_once():
    async with kuzzle(nodes=3) as world, world.client() as listener:
        channel = (await subscribe(listener, users="all"))["channel"]
        async with world.client() as guest:
            room = (await subscribe(guest, volatile={"name": "Ada"}))["roomId"]
            told = await listener.told()
            assert (told["type"], told["user"], told["result"]) == ("user", "in", {"count": 2})
            assert (told["volatile"], told["room"], told["action"]) == ({"name": "Ada"}, channel, "subscribe")
            await subscribe(guest, scope="out")  # another channel of the same room: nobody new
            await guest.result("realtime", "unsubscribe", body={"roomId": room})
            told = await listener.told()
            assert (told["user"], told["result"], told["volatile"]) == ("out", {"count": 1}, None)
            await subscribe(guest, volatile={"name": "Grace"})
            assert (await listener.told())["user"] == "in"
        told = await listener.told()
        assert (told["user"], told["result"], told["volatile"]) == ("out", {"count": 1}, {"name": "Grace"})
        assert await listener.told_nothing()


async def test_nobody_who_leaves_is_forgotten_while_the_lease_of_the_master_lapses():
    """A heartbeat comes later than the lease ends, every time: the node is master of one epoch, with gaps."""
    sections = {"election": {"lease": 0.004}, "node": {"heartbeat_interval": 0.02}}
    async with kuzzle(nodes=2, **sections) as world, world.client() as listener, world.client() as guest:
        await subscribe(listener, users="all")
        told = []
        for _ in range(40):
            room = (await subscribe(guest))["roomId"]
            await guest.result("realtime", "unsubscribe", body={"roomId": room})
            told += [(await listener.told())["user"] for _ in range(2)]
        assert sorted(told) == 40 * ["in"] + 40 * ["out"]
        assert await listener.told_nothing()


async def test_who_wants_to_know_of_users_is_told_and_nobody_else():
    async with kuzzle() as world, world.client() as none, world.client() as only_in, world.client() as only_out:
        for client, users in ((none, "none"), (only_in, "in"), (only_out, "out")):
            await subscribe(client, users=users)
        while not await only_in.told_nothing():
            await only_in.told()
        async with world.client() as guest:
            await subscribe(guest)
        assert (await only_in.told())["user"] == "in"
        assert (await only_out.told())["user"] == "out"
        for client in (none, only_in, only_out):
            assert await client.told_nothing()


async def test_a_new_master_tells_who_leaves():
    async with kuzzle(nodes=2) as world, world.client() as listener, world.client() as guest:
        await subscribe(listener, users="out")
        room = (await subscribe(guest))["roomId"]
        world.kill(0)
        await world.proxy.until(lambda: world.nodes[1].is_master, "a new master")
        await guest.result("realtime", "unsubscribe", body={"roomId": room})
        assert (await listener.told())["user"] == "out"
        await publish(guest, price=1)
        assert (await listener.told())["type"] == "document"
        assert await listener.told_nothing()


async def test_who_leaves_before_there_is_a_master_is_told_by_the_first():
    async with kuzzle(nodes=2, elected=False) as world, world.client() as listener, world.client() as guest:
        await subscribe(listener, users="out")
        room = (await subscribe(guest))["roomId"]
        await guest.result("realtime", "unsubscribe", body={"roomId": room})
        assert not any(node.is_master for node in world.nodes)
        world.elect()
        assert (await listener.told())["user"] == "out"
        assert await listener.told_nothing()


async def test_how_many_wait_to_be_told_is_bounded(monkeypatch):
    monkeypatch.setattr("holdfast.kuzzle.realtime.MAX_LEFT", 2)
    async with kuzzle(elected=False) as world, world.client() as listener, world.client() as guest:
        await subscribe(listener, users="out")
        for _ in range(3):
            room = (await subscribe(guest))["roomId"]
            await guest.result("realtime", "unsubscribe", body={"roomId": room})
        assert not world.nodes[0].is_master
        assert len(world.apis[0].realtime()._left) == 2


async def many_rooms(client, count):
    """So many, which every message passes into."""
    rooms = [await subscribe(client, {"not": {"equals": {"f": number}}}) for number in range(count)]
    return sorted(room["channel"] for room in rooms)


async def written(client, **body):
    """Told to as many as a message. The answer says that it was done."""
    assert (await client.result("document", "create", **HERE, body=body))["_source"].items() > body.items()


SMALL = {"client": {"max_message_bytes": 60_000, "max_body_bytes": 60_000}, "node": {"max_frame_bytes": 126_000}}


@pytest.mark.parametrize("at_once", [3, 10_000])
@pytest.mark.parametrize("does", [publish, written])
async def test_how_many_listen_fails_nobodys_request(does, at_once, monkeypatch):
    """Not by their number, which is above that of a handler's effects, nor by the bytes of what each of them gets."""
    monkeypatch.setattr("holdfast.node.exchange.MAX_EFFECTS", 2)
    monkeypatch.setattr(realtime, "CHANNELS_AT_ONCE", at_once)
    monkeypatch.setattr(realtime, "CHANNELS_WITH_RESPONSE", min(at_once, realtime.CHANNELS_WITH_RESPONSE))
    async with kuzzle(**SMALL) as world, world.client() as listener, world.client() as other:
        await other.result("index", "create", index="city")
        await other.result("collection", "create", **HERE)
        channels = await many_rooms(listener, 8)
        await does(other, text="x" * 20_000)
        told = [await listener.told() for _ in channels]
        assert sorted(each["room"] for each in told) == channels
        assert {each["result"]["_source"]["text"] for each in told} == {"x" * 20_000}
        assert await listener.told_nothing()


async def test_what_is_wrong_with_a_request_is_never_too_large_to_say():
    async with kuzzle(**SMALL) as world, world.client() as client:
        response = await client.ask("x" * 55_000, "y")
        assert response["error"]["id"] == "api.process.controller_not_found"
        assert len(response["error"]["message"]) < 2100
        assert [len(prop) for prop in response["error"]["props"]] == [2003]


async def test_who_comes_and_who_goes_is_told_in_each_channel_that_wants_to_know():
    async with kuzzle() as world, world.client() as listener:
        mine = [(await subscribe(listener, users=users, scope=scope))["channel"] for users in USERS for scope in SCOPES]
        async with world.client() as guest:
            await subscribe(guest)
        told = [await listener.told() for _ in range(16)]
        for user, wanted in (("in", "12"), ("out", "14")):
            channels = [channel for channel in mine if channel.partition("-")[2][0] in wanted]
            assert sorted(each["room"] for each in told if each["user"] == user) == sorted(channels)


REFUSED = [
    ("subscribe", HERE, "api.assert.body_required", 400),
    ("subscribe", {"body": {}, "index": "city"}, "api.assert.missing_argument", 400),
    ("subscribe", {**HERE, "body": {"like": {}}}, "api.assert.koncorde_dsl_error", 400),
    ("subscribe", {**HERE, "body": {}, "scope": "x"}, "core.realtime.invalid_scope", 400),
    ("subscribe", {**HERE, "body": {}, "users": "x"}, "core.realtime.invalid_users", 400),
    ("join", {"body": {"roomId": "x"}}, "core.realtime.room_not_found", 404),
    ("unsubscribe", {"body": {"roomId": "x"}}, "core.realtime.not_subscribed", 412),
    ("unsubscribe", {}, "api.assert.body_required", 400),
    ("count", {"body": {}}, "api.assert.missing_argument", 400),
    ("publish", {"body": {}}, "api.assert.missing_argument", 400),
    ("publish", HERE, "api.assert.body_required", 400),
]


async def test_what_is_refused():
    async with kuzzle() as world, world.client() as client:
        for action, more, id, status in REFUSED:
            assert await client.refusal("realtime", action, **more) == (id, status), (action, more)


async def test_http_cannot_subscribe():
    async with kuzzle() as world, world.http() as http:
        answer = await http.post("/_query", json={"controller": "realtime", "action": "subscribe", **HERE, "body": {}})
        assert answer.json()["error"]["id"] == "api.assert.unsupported_protocol"
        assert not world.nodes[0].state.items("kuzzle/subscription/")


async def test_a_subscription_delivered_again_is_one_and_announced_once_more():
    """The node died after the entry was made and before its response was out: so nobody was told yet."""
    async with kuzzle(nodes=2) as world, world.client() as listener, world.client() as guest:
        await subscribe(listener, users="all")
        await world.proxy.until(lambda: len(world.nodes[1].clients) == 2, "the node to be told of both")
        [guest_id] = set(world.nodes[1].clients) - {
            int(key.split("/")[3], 16) for key, _ in world.nodes[1].state.items("kuzzle/subscription/")
        }
        asked = Request("q", "realtime", "subscribe", dict(HERE), body=CHEAP, client=guest_id, origin="guest/1")
        realtime = world.apis[0].realtime(), world.apis[1].realtime()
        first = await realtime[0].subscribe(asked)
        assert (await listener.told())["user"] == "in"
        asked.redelivered = True
        assert await realtime[1].subscribe(asked) == first
        assert (await listener.told())["result"] == {"count": 2}
        await publish(guest, price=1)
        assert (await guest.told())["room"] == first["channel"]


async def test_every_choice_of_users_and_scope_has_its_channel():
    async with kuzzle() as world, world.client() as client:
        channels = {
            (await subscribe(client, users=users, scope=scope))["channel"] for users in USERS for scope in SCOPES
        }
        assert len(channels) == len(USERS) * len(SCOPES)
        assert await client.told_nothing()  # who is in the room already is not told of itself


async def test_what_one_client_and_all_may_subscribe_is_bounded(monkeypatch):
    monkeypatch.setattr(rooms, "MOST_OF_CLIENT", Load(3, 10, 1 << 12))
    async with kuzzle() as world, world.client() as one, world.client() as other:
        refused = ("core.realtime.too_many_rooms", 413)
        of_eleven = {"in": {"x": list(range(11))}}
        assert await one.refusal("realtime", "subscribe", **HERE, body=of_eleven) == refused
        long = {"equals": {"x": "y" * (1 << 12)}}
        assert await one.refusal("realtime", "subscribe", **HERE, body=long) == refused
        mine = [await subscribe(one, {"equals": {"x": number}}) for number in range(3)]
        assert await one.refusal("realtime", "subscribe", **HERE, body={}) == refused
        await subscribe(one, {"equals": {"x": 2}})  # it is there
        await one.result("realtime", "unsubscribe", body={"roomId": mine[0]["roomId"]})
        await subscribe(one, {})
        monkeypatch.setattr(rooms, "MOST_OF_COLLECTION", 3)
        await subscribe(other, {"equals": {"x": 1}})  # a room that is looked at anyway
        assert await other.refusal("realtime", "subscribe", **HERE, body={"exists": "x"}) == refused
        monkeypatch.setattr(rooms, "MOST_OF_ALL", Load(4, 100, 1 << 20))
        elsewhere = {"index": "city", "collection": "other"}
        assert await other.refusal("realtime", "subscribe", **elsewhere, body={}) == refused


async def test_numbers_that_no_state_holds():
    async with kuzzle() as world, world.client() as client:
        for text in ("1" + "0" * 30, "1e308", "1" + "0" * 400):
            for filters in (f'{{"range": {{"x": {{"gte": {text}}}}}}}', f'{{"equals": {{"x": {text}}}}}'):
                await client.send(
                    '{"controller": "realtime", "action": "subscribe", "index": "city", "collection": "rides", '
                    f'"body": {filters}}}'
                )
                answer = await client.receive()
                assert answer["error"] is None
        await publish(client, x=10**30)
        assert len({(await client.told())["room"] for _ in range(2)}) == 2


async def test_what_a_subscription_says_to_all_others_is_bounded():
    async with kuzzle() as world, world.client() as client:
        too_much = ("api.assert.invalid_argument", 400)
        text = "x" * (realtime.MAX_VOLATILE_BYTES - len('{"a":""}'))
        await subscribe(client, volatile={"a": text})
        more = {"controller": "realtime", "action": "subscribe", "body": CHEAP}
        assert await client.refusal(**more, **HERE, volatile={"a": text + "x"}) == too_much
        name = "x" * realtime.MAX_NAME_BYTES
        await client.result(**more, index=name, collection=name)
        assert await client.refusal(**more, index=name + "x", collection=name) == too_much
        assert await client.refusal(**more, index=name, collection=name + "x") == too_much
