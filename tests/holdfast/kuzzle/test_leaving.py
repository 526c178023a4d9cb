"""Who leaves rooms is out of their channels, whatever becomes of the response, and can try again."""

import pytest

from holdfast import State, StateError
from holdfast.kuzzle import realtime
from holdfast.kuzzle.wire import Request
from tests.holdfast.kuzzle.test_realtime import CHEAP, publish, subscribe
from tests.holdfast.kuzzle.test_token_ends import logged_in
from tests.holdfast.kuzzle.world import kuzzle

SUBSCRIPTION = "kuzzle/subscription/"


def refusing(world, monkeypatch):
    """As if lanes were full: replies that have effects are refused, and their effects with them."""
    dispatch = world.proxy.app.dispatch
    monkeypatch.setattr(dispatch, "in_order", dispatch.refuse)


async def left(world, channel):
    await world.proxy.until(lambda: not world.proxy.app.channels.count(channel), "the channel to be left")


async def test_who_unsubscribes_is_out_though_the_reply_has_no_room(monkeypatch):
    async with kuzzle() as world, world.client() as one:
        room = await subscribe(one)
        with monkeypatch.context() as full:
            refusing(world, full)
            await one.result("realtime", "unsubscribe", body={"roomId": room["roomId"]})  # nothing goes with it
        await left(world, room["channel"])
        assert not world.nodes[0].state.items(SUBSCRIPTION)


async def test_who_logs_out_is_out_though_the_reply_has_no_room(monkeypatch):
    async with kuzzle() as world, world.client() as one:
        token = await logged_in(one)
        rooms = [await subscribe(one, filters, jwt=token) for filters in ({}, CHEAP)]
        with monkeypatch.context() as full:
            refusing(world, full)
            await one.result("auth", "logout", jwt=token)
        for room in rooms:
            await left(world, room["channel"])
        assert not world.nodes[0].state.items(SUBSCRIPTION)


async def test_who_subscribes_is_in_though_the_reply_has_no_room(monkeypatch):
    async with kuzzle() as world, world.client() as one:
        with monkeypatch.context() as full:
            refusing(world, full)
            room = await subscribe(one)
        await publish(one, price=1)
        assert (await one.told())["room"] == room["channel"]


@pytest.fixture
def failing(monkeypatch):
    """The first deletion of a subscription fails."""
    deleted = []
    delete = State.delete

    async def fails_once(state, key, **more):
        if key.startswith(SUBSCRIPTION):
            deleted.append(key)
            if len(deleted) == 1:
                raise StateError("nobody put it in order in time")
        await delete(state, key, **more)

    monkeypatch.setattr(State, "delete", fails_once)


async def test_who_unsubscribed_half_way_is_out_of_the_channel_and_can_try_again(failing):
    async with kuzzle() as world, world.client() as one:
        room = await subscribe(one)
        leave = {"body": {"roomId": room["roomId"]}}
        assert await one.refusal("realtime", "unsubscribe", **leave) == ("core.fatal.service_unavailable", 500)
        await publish(one, price=1)
        assert await one.told_nothing()
        await one.result("realtime", "unsubscribe", **leave)
        assert not world.nodes[0].state.items(SUBSCRIPTION)


async def test_the_master_ends_what_a_logout_left_half_way(failing, monkeypatch):
    monkeypatch.setattr(realtime, "EXPIRY_INTERVAL", 0.01)
    async with kuzzle(nodes=2) as world, world.client() as one:
        token, other = await logged_in(one), await logged_in(one, expiresIn="2h")
        rooms = [await subscribe(one, filters, jwt=token) for filters in ({}, CHEAP)]
        stays = await subscribe(one, {"exists": "price"}, jwt=other)
        await one.ask("auth", "logout", jwt=token)  # its own failure, or the master's: whoever came first
        for node in world.nodes:
            await world.proxy.until(lambda node=node: len(node.state.items(SUBSCRIPTION)) == 1, "the end of the others")
        for room in rooms:
            await left(world, room["channel"])
        await publish(one, price=1)
        assert (await one.told())["room"] == stays["channel"]
        assert await one.told_nothing()


async def test_leaving_delivered_again_is_no_error():
    """The node died after the entry was deleted and before its response was out: the client was out of the channel."""
    async with kuzzle() as world, world.client() as guest:
        name = (await subscribe(guest))["roomId"]
        await guest.result("realtime", "unsubscribe", body={"roomId": name})
        again = Request("r", "realtime", "unsubscribe", body={"roomId": name}, redelivered=True)
        assert await world.apis[0].realtime().unsubscribe(again) == {"roomId": name}
