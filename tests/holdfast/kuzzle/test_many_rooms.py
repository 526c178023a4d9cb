"""Who publishes to many rooms waits for that himself, and nobody else does."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from holdfast import Node
from holdfast.kuzzle import Api, realtime
from holdfast.kuzzle.errors import TooManyRequestsError
from holdfast.kuzzle.wire import Request
from tests.holdfast.kuzzle.test_leaving import refusing
from tests.holdfast.kuzzle.test_realtime import publish, subscribe
from tests.holdfast.kuzzle.world import kuzzle


async def test_who_publishes_to_many_rooms_fills_no_lane_with_replies(monkeypatch):
    """What many are told goes before the response, as far as the proxy's window has room."""
    monkeypatch.setattr(realtime, "CHANNELS_WITH_RESPONSE", 3)
    async with kuzzle() as world, world.client() as one:
        rooms = [await subscribe(one, {"not": {"equals": {"f": number}}}) for number in range(4)]
        refusing(world, monkeypatch)
        await publish(one, price=1)
        assert {(await one.told())["room"] for _ in rooms} == {room["channel"] for room in rooms}


async def test_each_client_has_one_such_message_at_a_time_and_what_follows_comes_behind_it(monkeypatch):
    monkeypatch.setattr(realtime, "CHANNELS_WITH_RESPONSE", 3)
    told, gate = [], trio.Event()
    here = Api(Node("n")).realtime()

    async def tell(channels, notification):
        told.append(notification)

    monkeypatch.setattr(here, "_tell", tell)
    async with trio.open_nursery() as nursery:
        for client, channels, message in (
            (1, "abcd", "wide"),
            (1, "abcd", "next"),
            (1, "a", "narrow"),
            (2, "a", "his"),
        ):
            nursery.start_soon(here._send, Request(client=client, flush=gate.wait), [*channels], message)
            await wait_all_tasks_blocked()
        assert told == ["wide", "his"]
        gate.set()
    assert told == ["wide", "his", "next", "narrow"]
    assert not here._telling


async def test_what_comes_while_the_second_such_message_is_told_comes_behind_it(monkeypatch):
    monkeypatch.setattr(realtime, "CHANNELS_WITH_RESPONSE", 3)
    told, gates = [], {"first": trio.Event(), "second": trio.Event()}
    here = Api(Node("n")).realtime()

    async def tell(channels, notification):
        told.append(notification)

    monkeypatch.setattr(here, "_tell", tell)

    def send(channels, message):
        flush = gates[message].wait if message in gates else None
        nursery.start_soon(here._send, Request(client=1, flush=flush), [*channels], message)

    async with trio.open_nursery() as nursery:
        for message in gates:
            send("abcd", message)
            await wait_all_tasks_blocked()
        gates["first"].set()
        await wait_all_tasks_blocked()
        send("a", "third")
        await wait_all_tasks_blocked()
        assert told == ["first", "second"]
        gates["second"].set()
    assert told == ["first", "second", "third"]


async def test_who_has_too_many_waiting_is_refused_and_nobody_else(monkeypatch):
    """What waits holds places that all requests at the node have: 30 publishers, of 64 each, took all."""
    monkeypatch.setattr(realtime, "MAX_WAITING", 2)
    api = Api(Node("n"))
    here, documents = api.realtime(), api.documents()
    monkeypatch.setattr(documents, "_key", lambda request, id: id)
    args = {"index": "i", "collection": "c", "_id": "1"}
    telling = here._telling[1] = trio.Lock()

    def request(client, **more):
        return Request("q", "realtime", "publish", args, {}, client=client, **more)

    async with trio.open_nursery() as nursery:
        await telling.acquire()
        for _ in range(2):
            assert await here.publish(request(1)) == {"published": True}
            nursery.start_soon(here._send, request(1), ["a"], b"{}")
            await wait_all_tasks_blocked()
        for ask in (here.publish, documents.create, documents.update, documents.delete):
            with pytest.raises(TooManyRequestsError) as refused:
                await ask(request(1))
            assert refused.value.id == "api.process.too_many_requests"
        for more in ({"client": 2}, {"client": 1, "redelivered": True}):
            assert await here.publish(request(**more)) == {"published": True}
        nursery.cancel_scope.cancel()
